"""Loads problems of any format from files, folders and the Hub."""

from __future__ import annotations

import datetime
import logging
import os
import re
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from stepcoder_trl.data.formats.apps import read_apps_folder
from stepcoder_trl.data.formats.common import Format, LeftOut, plain_line_ends
from stepcoder_trl.data.formats.table import FORMATS
from stepcoder_trl.data.problems import Problem, check_unique_task_ids, misnamed, repetition
from stepcoder_trl.errors import BadInputError
from stepcoder_trl.jsonl import OnBadText, Row, read_rows, shown


Source = str | os.PathLike[str]

_MODEL_FILES = ("adapter_config.json", "config.json")
_FILES = (".parquet", ".jsonl", ".ndjson", ".json", ".jsonl.gz", ".json.gz")
_DAY = re.compile(r"\d{4}-\d\d-\d\d")
_TOLD_REASONS = 5  # in a warning
_CLOSEST = 3  # formats that an error names
_HUB_NAME = re.compile(r"(?P<name>[\w.-]+/[\w.-]+)(?::(?P<split>[\w.-]+))?")


def load_problems(
    path: Source | Sequence[Source], format: str | None = None, *, since: str | None = None, until: str | None = None
) -> list[Problem]:
    """
    Load problems from files, folders or the Hub, in any known format.

    Args:
        path (`str`, `os.PathLike` or a sequence of them):
            JSON Lines, a JSON array, either of them gzip-compressed, parquet; a folder of such files, or in the layout
            of APPS; or the name of a dataset on the Hub, `owner/name` or `owner/name:split`, which needs the library
            `datasets`. `-` is standard input. Of several sources, all problems are returned in order.
        format (`str` or `None`, *optional*):
            Name of an entry of `FORMATS`, e.g. `"apps_plus"`. By default the format of a source is recognised by the
            fields of its first row.
        since (`str` or `None`, *optional*):
            First day of the problems to load, e.g. `"2024-08-01"`. For formats that give dates: LiveCodeBench.
        until (`str` or `None`, *optional*):
            Last day of the problems to load.

    Returns:
        `list[Problem]`: One problem per row, in the order of the sources. A warning counts rows that are in order but
        cannot be used, such as those in other languages.

    Raises:
        BadInputError: If a file or a row cannot be used. The message names the file, the row, the field and the fix.

    Example:

    ```python
    >>> problems = load_problems("apps_plus_valid.jsonl")
    >>> problems[57].task_id
    'apps_plus_valid/58'
    ```
    """
    return load_with_places(path, format, since=since, until=until)[0]


def load_with_places(
    path: Source | Sequence[Source], format: str | None = None, *, since: str | None = None, until: str | None = None
) -> tuple[list[Problem], list[str]]:
    """Return the problems of [`load_problems`], and the place of each for messages, e.g. `"problems.jsonl:3"`."""
    ((problems, places),) = load_each([path], format, since=since, until=until)
    return problems, places


def load_each(
    sources: Iterable[Source | Sequence[Source]],
    format: str | None = None,
    *,
    since: str | None = None,
    until: str | None = None,
) -> list[tuple[list[Problem], list[str]]]:
    """Return the problems of each source, with their places. No two of all of them have one `task_id`."""
    window = _Window(since, until)
    loaded: list[tuple[list[Problem], list[str]]] = []
    for source in sources:
        found: tuple[list[Problem], list[str]] = ([], [])
        for rows in read_sources(source):
            chosen = _recognised(rows[0]) if format is None else _named(format)
            for row, problem in _problems(chosen, window.of(chosen, rows)):
                found[0].append(problem)
                found[1].append(row.where)
        loaded.append(found)
    window.close()
    check_unique_task_ids([one for found, _ in loaded for one in found], [one for _, found in loaded for one in found])
    return loaded


def _problems(chosen: Format, rows: Sequence[Row]) -> Iterator[tuple[Row, Problem]]:
    """Yield each row that can be used, with its problem, and warn of those that are left out."""
    left_out: list[LeftOut] = []
    for row in rows:
        try:
            problem = chosen.problem(row)
        except LeftOut as reason:
            left_out.append(reason)
            continue
        yield row, problem
    if left_out and len(left_out) == len(rows):
        raise left_out[0]
    if left_out:
        reasons = Counter(row.reason for row in left_out).most_common()
        told = ", ".join(f"{reason} ({count})" for reason, count in reasons[:_TOLD_REASONS])
        others = ", and others" if len(reasons) > _TOLD_REASONS else ""
        warnings.warn(
            f"{rows[0].source}: {len(left_out)} of {len(rows)} rows are left out: {told}{others}", stacklevel=5
        )


class _Window:
    """Chooses the rows of some days, bounds included. Files without dates are taken whole beside those that have."""

    def __init__(self, since: str | None, until: str | None) -> None:
        for name, day in (("since", since), ("until", until)):
            if day is not None and not _DAY.fullmatch(day):
                raise BadInputError(f"`{name}` is {shown(day)}, but must be a day such as `2024-08-31`.")
        self._since, self._until = since, until
        self._has_dates = False
        self._without: list[str] = []  # what is said of each file that has no dates

    def of(self, chosen: Format, rows: Sequence[Row]) -> Sequence[Row]:
        """Return the rows of these days."""
        if self._since is None and self._until is None:
            return rows
        if chosen.date is None:
            self._without.append(f"{rows[0].source}: the format `{chosen.name}` gives no dates.")
            return rows
        self._has_dates = True
        days = [_day(row, chosen.date) for row in rows]
        found = [
            row for row, day in zip(rows, days, strict=True) if (self._since or day) <= day <= (self._until or day)
        ]
        if not found:
            raise BadInputError(f"{rows[0].source}: no problem is from these days. It has {min(days)} to {max(days)}.")
        return found

    def close(self) -> None:
        """Warn of files that have no dates. Raise a `BadInputError` if no file has."""
        if self._without and not self._has_dates:
            raise BadInputError(f"{self._without[0]} Leave out `since` and `until`, or `--dates`.")
        for text in self._without:
            warnings.warn(f"{text} All of its problems are taken.", stacklevel=5)


def _day(row: Row, field: str) -> str:
    """Return the day of a date, given as text or, in parquet, as a point in time."""
    value = row.get(field)
    return value.isoformat()[:10] if isinstance(value, datetime.date) else row.text(field)[:10]


@dataclass(frozen=True)
class RawRow:
    """Row that may be unusable, with all its solutions."""

    number: int  # position in the input, counted from 1
    task_id: str  # of a row that cannot be used: its own id, or the file's name and the row's number; not unique
    problem: Problem | None  # `None` if the row cannot be used
    error: BadInputError | None  # reason why the row cannot be used
    solutions: tuple[str, ...]  # without duplicates and blank ones
    values: Mapping[str, Any]  # fields of the row
    repeated_id: str | None = None  # its own task id, if an earlier row has that
    repetition: BadInputError | None = None  # names both rows


def read_raw_rows(path: Source | Sequence[Source], on_bad_text: OnBadText | None = None) -> list[RawRow]:
    """
    Read the rows of files, folders or the Hub, with all their solutions.

    A row that cannot be used raises no error. A task id that an earlier usable row has gets a number. A line that is
    no object in JSON is left out and handed to `on_bad_text`. Without it, it raises a `BadInputError`.
    """
    seen: dict[str, str] = {}
    raw: list[RawRow] = []
    for rows in read_sources(path, on_bad_text):
        if not rows:  # every line is bad
            continue
        chosen = _recognised(next((row for row in rows if any(known.fits(row) for known in FORMATS)), rows[0]))
        raw += [_raw_row(chosen, row, number, seen) for number, row in enumerate(rows, len(raw) + 1)]
    return raw


def _raw_row(chosen: Format, row: Row, number: int, seen: dict[str, str]) -> RawRow:
    problem: Problem | None = None
    error: BadInputError | None = None
    solutions: tuple[str, ...] = ()
    try:
        problem = chosen.problem(row)
        given = map(plain_line_ends, chosen.solutions(row, problem))
        solutions = tuple(dict.fromkeys(solution for solution in given if solution.strip()))
    except BadInputError as reason:
        error = reason
    if problem is None:
        return RawRow(number, _name_of_unusable(row, chosen), None, error, solutions, row.fields)
    own = task_id = problem.task_id
    while task_id in seen:
        task_id = f"{task_id}#{number}"
    seen[task_id] = row.where
    if task_id == own:
        return RawRow(number, task_id, problem, error, solutions, row.fields)
    problem, again = replace(problem, task_id=task_id), repetition(own, row.where, seen[own])
    return RawRow(number, task_id, problem, error, solutions, row.fields, own, again)


def _name_of_unusable(row: Row, chosen: Format) -> str:
    """Return the own id of a row that cannot be used, else a name with its number. A usable row may have the same."""
    for name in ("task_id", "id", "problem_id"):
        value = row.fields.get(name)
        if isinstance(value, str) and value and (name == "task_id" or not chosen.is_published):
            return value
        if isinstance(value, (str, int)) and value != "":
            return f"{row.source}/{value}"
    return f"{row.source}/{row.number}"


# Sources


def read_sources(path: Source | Sequence[Source], on_bad_text: OnBadText | None = None) -> Iterator[list[Row]]:
    """Yield the rows of each file, folder in the layout of APPS, or split on the Hub."""
    if not isinstance(path, (str, os.PathLike)):
        if isinstance(path, Mapping) or not isinstance(path, Iterable):
            raise BadInputError(
                f"A source of problems is {shown(path)}, but must be the path of a file or folder, or a name on the "
                "Hub. Write rows that you have in Python as `[Problem.from_row(row) for row in rows]`."
            )
        path = list(path)
        if not path:
            raise BadInputError("No file of problems is named. Name at least one.")
        for one in path:
            yield from read_sources(one, on_bad_text)
    elif os.path.isdir(path):
        yield from _folder(Path(path))
    elif not os.path.exists(path) and (hub := _HUB_NAME.fullmatch(os.fspath(path))) and not _is_file_name(hub["name"]):
        yield hub_rows(hub["name"], hub["split"])
    else:
        yield read_rows(path, on_bad_text)


def _is_file_name(name: str) -> bool:
    return name.endswith(_FILES)


def _folder(folder: Path) -> Iterator[list[Row]]:
    """Yield the rows of a folder in the layout of APPS, or else of each file in a folder."""
    files = sorted(file for file in folder.rglob("*") if file.is_file() and _is_file_name(file.name))
    if not files or any((part / "question.txt").is_file() for part in folder.iterdir()):
        yield list(read_apps_folder(folder))
        return
    if found := next((name for name in _MODEL_FILES if (folder / name).is_file()), None):
        raise BadInputError(
            f"{folder}: the folder holds a model (`{found}`), and no problems. Name the files of problems."
        )
    names = Counter(file.name for file in files)
    for file in files:
        rows = read_rows(file)
        if names[file.name] > 1:  # as in a dataset with a folder for each configuration: ids need the folder's name
            parent = file.parent.relative_to(folder).as_posix()
            rows = [replace(row, source=f"{parent}/{row.source}") for row in rows]
        yield rows


def hub_rows(name: str, split: str | None = None) -> list[Row]:
    """
    Return the rows of a dataset on the Hub. Without a split, the dataset must have only one.

    Raises:
        BadInputError: If the library `datasets` is missing, or the dataset or its split cannot be loaded.
    """
    _take_cache_if_offline()
    try:
        import datasets
    except ImportError:
        raise BadInputError(
            f"{name}: there is no such file, and datasets on the Hub need `datasets`. Run `pip install datasets`, or "
            "check the path."
        ) from None
    try:
        found = datasets.load_dataset(name, split=split)
    except (OSError, ValueError, RuntimeError) as error:
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise BadInputError(
            f"{name}: there is no such file, and no such dataset could be loaded from the Hub: {shown(lines[0])}. "
            "Check the name and the connection, or name a file."
        ) from error
    if isinstance(found, datasets.DatasetDict):
        if len(found) != 1:
            raise BadInputError(
                f"{name}: the dataset has the splits {', '.join(found)}. Name one: `{name}:{next(iter(found))}`."
            )
        (found,) = found.values()
    source = name.partition("/")[2]
    return [Row(fields, f"{name}, row {number}", source, number) for number, fields in enumerate(found, 1)]


def _take_cache_if_offline() -> None:
    """Let the Hub's library take what it has stored, without trying again for half a minute, where there is no net."""
    import socket  # these are slow to load
    from urllib.parse import urlsplit
    from urllib.request import getproxies

    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)
    host = urlsplit(os.environ.get("HF_ENDPOINT", "https://huggingface.co")).hostname
    if "HF_HUB_OFFLINE" in os.environ or getproxies():
        return
    try:
        socket.getaddrinfo(host, None)
    except OSError:
        os.environ["HF_HUB_OFFLINE"] = "1"


# Formats


def _named(name: str) -> Format:
    for candidate in FORMATS:
        if candidate.name == name:
            return candidate
    allowed = ", ".join(f'`"{candidate.name}"`' for candidate in FORMATS)
    raise BadInputError(f"`format` is {shown(name)}, but must be one of {allowed}, or None to recognise it.")


def _recognised(row: Row) -> Format:
    for candidate in FORMATS:
        if candidate.fits(row):
            return candidate
    found = ", ".join(map(str, row.fields)) or "none"
    other = misnamed(row.fields, "tests")
    if other is not None and "prompt" in map(str.lower, row.fields):
        hint = f"Rename `{other}` to `tests` if this is a row of your own."
    else:
        share = {known.name: len(known.missing_from(row)) / len(known.needs) for known in FORMATS}
        closest = sorted(FORMATS, key=lambda known: (share[known.name], known.is_published))[:_CLOSEST]
        lacks = "; ".join(f"`{known.name}` also needs {', '.join(known.missing_from(row))}" for known in closest)
        hint = f"Of {len(FORMATS)} formats these are the closest: {lacks}. Rename the fields, or write rows with"
        hint += " `task_id`, `prompt` and `tests`."
    raise BadInputError(f"{row.where}: no known format has these fields: {found}. {hint}")
