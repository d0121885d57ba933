"""
Loaders for the formats in which datasets are published.

To add a format, write a loader function and add it to the table [`FORMATS`] at the end of this file. Help texts and
error messages list the formats of that table. A test compares `docs/data.md` with it.

Prompts end with a newline, since starter code or prefix follows directly. The preamble of APPS, APPS+ and LeetCode
tests holds the imports that their harnesses put in scope. Programs of the other formats import what they use.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from stepcoder_trl.data.apps import apps_plus_tests, apps_tests, read_apps_folder, without_main_block
from stepcoder_trl.data.imports import MODULE_IMPORTS, USUAL_IMPORTS, explicit_imports
from stepcoder_trl.data.problems import Problem, check_unique_task_ids
from stepcoder_trl.errors import BadInputError
from stepcoder_trl.jsonl import Row, read_rows, shown
from stepcoder_trl.parsing import parse


_DIFFICULTIES = {
    "introductory": "introductory",
    "interview": "interview",
    "competition": "competition",
    "easy": "introductory",
    "medium": "interview",
    "meidum": "interview",  # misspelt in some rows of LeetCodeDataset
    "hard": "competition",
}


@dataclass(frozen=True)
class Format:
    """Format of a dataset: how its rows become problems, and where all their solutions are."""

    name: str  # for `load_problems`
    title: str  # in help texts
    required: tuple[str, ...]  # fields of every row; a file has this format if its first row has all of them
    load: Callable[[Row], Problem]
    solutions: Callable[[Row, Problem], Sequence[str]] = lambda row, problem: [problem.canonical_solution]

    def fits(self, row: Row) -> bool:
        """Return whether the row has all required fields."""
        return all(name in row.fields for name in self.required)


def load_problems(path: str | os.PathLike[str], format: str | None = None) -> list[Problem]:
    """
    Load problems from a file or folder in any known format.

    Args:
        path (`str` or `os.PathLike`):
            JSON Lines, a JSON array, either of them gzip-compressed, parquet, or a folder in the layout of APPS. `-`
            is standard input.
        format (`str` or `None`, *optional*):
            Name of an entry of `FORMATS`, e.g. `"apps_plus"`. By default the format is recognised by the fields of the
            first row.

    Returns:
        `list[Problem]`: One problem per row, in the order of the file.

    Raises:
        BadInputError: If the file or a row cannot be used. The message names the file, the row, the field and the fix.

    Example:

    ```python
    >>> problems = load_problems("apps_plus_valid.jsonl")
    >>> problems[57].task_id
    'apps_plus_valid/58'
    ```
    """
    rows = _rows(path)
    chosen = _recognised(rows[0]) if format is None else _named(format)
    problems = []
    for row in rows:
        for name in chosen.required:
            if name not in row.fields:
                raise BadInputError(
                    f"{row.where}: field `{name}` is missing, which the format `{chosen.name}` needs. Add it, or keep "
                    "rows of different formats in separate files."
                )
        problems.append(chosen.load(row))
    check_unique_task_ids(problems, [row.where for row in rows])
    return problems


@dataclass(frozen=True)
class RawRow:
    """Row that may be unusable, with all its solutions."""

    number: int  # position in the input, counted from 1
    task_id: str  # made of the file's name and the row's number if the row has none
    problem: Problem | None  # `None` if the row cannot be used
    error: BadInputError | None  # reason why the row cannot be used
    solutions: tuple[str, ...]  # without duplicates and blank ones
    values: Mapping[str, Any]  # fields of the row


def read_raw_rows(path: str | os.PathLike[str]) -> list[RawRow]:
    """
    Read the rows of a file or folder for refinement, with all their solutions.

    A row that cannot be used raises no error. A task id that occurs again gets a number.
    """
    rows = _rows(path)
    chosen = _recognised(next((row for row in rows if any(known.fits(row) for known in FORMATS)), rows[0]))
    seen: set[str] = set()
    raw: list[RawRow] = []
    for number, row in enumerate(rows, 1):
        problem: Problem | None = None
        error: BadInputError | None = None
        solutions: tuple[str, ...] = ()
        try:
            problem = chosen.load(row)
            given = chosen.solutions(row, problem)
            solutions = tuple(dict.fromkeys(solution for solution in given if solution.strip()))
        except BadInputError as reason:
            error = reason
        task_id = f"{row.source}/{row.number}" if problem is None else problem.task_id
        while task_id in seen:
            task_id = f"{task_id}#{number}"
        seen.add(task_id)
        if problem is not None and task_id != problem.task_id:
            problem = replace(problem, task_id=task_id)
        raw.append(RawRow(number, task_id, problem, error, solutions, row.fields))
    return raw


def _rows(path: str | os.PathLike[str]) -> list[Row]:
    return list(read_apps_folder(Path(path))) if os.path.isdir(path) else read_rows(path)


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
    tried = "; ".join(f"`{candidate.name}` needs {', '.join(candidate.required)}" for candidate in FORMATS)
    found = ", ".join(map(str, row.fields)) or "none"
    raise BadInputError(
        f"{row.where}: no known format has these fields: {found}. Tried: {tried}. Rename the fields, or write "
        "rows with `task_id`, `prompt` and `tests`."
    )


def _difficulty(row: Row, value: Any) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str) or value.lower() not in _DIFFICULTIES:
        allowed = ", ".join(_DIFFICULTIES)
        raise BadInputError(
            f"{row.where}: `difficulty` is {shown(value)}, but must be null or one of {allowed}. Map it."
        )
    return _DIFFICULTIES[value.lower()]


def _paragraph(text: str) -> str:
    return text.strip() + "\n"


# Our own rows


def _load_stepcoder(row: Row) -> Problem:
    return Problem.from_row(row.fields, row.where)


# APPS+


def _load_apps_plus(row: Row) -> Problem:
    starter_code = row.text("starter_code")
    name = row.fields.get("id")
    return Problem(
        task_id=f"{row.source}/{row.number if name is None else name}",
        prompt=_paragraph(_docstring_text(row.text("prompt").removeprefix(starter_code))),
        starter_code=without_main_block(starter_code),
        canonical_solution=row.text("canonical_solution"),
        tests={**apps_plus_tests(row, starter_code), "preamble": USUAL_IMPORTS},
        difficulty=_difficulty(row, row.fields.get("difficulty")),
        where=row.where,
    )


def _docstring_text(docstring: str) -> str:
    """Return the text between the quotes, unchanged, because it has unescaped backslashes (`$n \\neq 0$`)."""
    text = docstring.strip()
    for quotes in ('"""', "'''"):
        if text.startswith(quotes):
            return text[3:].removesuffix(quotes)
    return text


# APPS


def _load_apps(row: Row) -> Problem:
    starter_code = row.text("starter_code", "")
    return Problem(
        task_id=f"{row.source}/{row.identifier('problem_id')}",
        prompt=_paragraph(row.text("question")),
        starter_code=starter_code,
        canonical_solution=_first_that_parses(_apps_solutions(row)),
        tests={**apps_tests(row, starter_code), "preamble": USUAL_IMPORTS},
        difficulty=_difficulty(row, row.fields.get("difficulty")),
        where=row.where,
    )


def _apps_solutions(row: Row, problem: Problem | None = None) -> list[str]:
    """Return all solutions of a row."""
    solutions = row.json("solutions")
    solutions = [] if solutions is None else solutions
    if not isinstance(solutions, list) or not all(isinstance(solution, str) for solution in solutions):
        raise BadInputError(f"{row.where}: `solutions` is {shown(solutions)}, but must be a JSON list of programs.")
    return solutions


def _first_that_parses(solutions: Sequence[str]) -> str:
    """Return the first solution that parses, or `""`. Some solutions of APPS are Python 2."""
    return next((solution for solution in solutions if solution.strip() and parse(solution) is not None), "")


# MBPP


def _load_mbpp(row: Row) -> Problem:
    return _mbpp_problem(row, row.text("text"), row.text("test_setup_code", ""))


def _load_mbpp_sanitized(row: Row) -> Problem:
    return _mbpp_problem(row, row.text("prompt"), "\n".join(row.texts("test_imports")))


def _mbpp_problem(row: Row, text: str, setup: str) -> Problem:
    """Return a problem whose prompt ends with the asserts, as is usual for MBPP. Only they name the function."""
    asserts = row.texts("test_list")
    shown_tests = "\n".join(part.strip() for part in (setup, *asserts) if part.strip())
    return Problem(
        task_id=f"MBPP/{row.identifier('task_id')}",
        prompt=f"{text.strip()}\nYour code should pass these tests:\n\n{shown_tests}\n",
        canonical_solution=row.text("code"),
        tests={"type": "assert", "setup": setup, "asserts": asserts},
        where=row.where,
    )


# HumanEval and LeetCodeDataset


def _load_humaneval(row: Row) -> Problem:
    stub, entry_point = row.text("prompt"), row.text("entry_point")
    return Problem(
        task_id=row.text("task_id"),
        prompt=f"Complete the Python function `{entry_point}`, which begins as follows.\n",
        starter_code=stub,
        canonical_solution=stub + row.text("canonical_solution"),
        tests=_check_tests(row, entry_point),
        where=row.where,
    )


def _load_leetcode(row: Row) -> Problem:
    meta = row.fields.get("meta")
    meta = meta if isinstance(meta, Mapping) else {}
    difficulty = row.fields.get("difficulty", meta.get("difficulty"))
    return Problem(
        task_id=row.text("task_id"),
        prompt=_paragraph(_leetcode_description(row, meta)),
        starter_code=_leetcode_starter_code(row, meta),
        canonical_solution=row.text("completion"),
        tests={
            **_check_tests(row, row.text("entry_point")),
            "preamble": MODULE_IMPORTS + explicit_imports(row.text("prompt")),
        },
        difficulty=_difficulty(row, difficulty),
        where=row.where,
    )


def _leetcode_description(row: Row, meta: Mapping[str, Any]) -> str:
    """Return `problem_description` of version 0.3, `question_title` of version 0.2, else a part of `query`."""
    for text in (row.fields.get("problem_description"), meta.get("question_title")):
        if isinstance(text, str) and text.strip():
            return text
    return row.text("query").split("Please complete the following python code", 1)[0]


def _leetcode_starter_code(row: Row, meta: Mapping[str, Any]) -> str:
    for text in (row.fields.get("starter_code"), meta.get("lang_code")):
        if isinstance(text, str) and text.strip():
            return text
    fence = re.search(r"```python\n(.*?)```", row.text("query", ""), re.DOTALL)
    return fence[1] if fence else ""


def _check_tests(row: Row, entry_point: str) -> dict[str, Any]:
    test = row.text("test")
    if not re.search(r"^def\s+check\s*\(", test, re.MULTILINE):
        raise BadInputError(f"{row.where}: `test` is {shown(test)}, but must define `check(candidate)`. Correct it.")
    return {"type": "assert", "setup": test, "asserts": [f"check({entry_point})"]}


# CodeContests


def _load_codecontests(row: Row) -> Problem:
    text = row.text("problem_md")
    description = re.search(
        r"^## Description\n(.*?)(?=^## (?:Categories|Source|Examples|Testing)\b|\Z)", text, re.MULTILINE | re.DOTALL
    )
    return Problem(
        task_id=row.text("id"),
        prompt=_paragraph(description[1] if description else text),
        canonical_solution=row.text("main_py"),
        tests={"type": "stdio", "inputs": row.items("inputs"), "outputs": row.items("outputs")},
        where=row.where,
    )


# The order decides: the first entry whose required fields a row has is taken. An entry with more required fields must
# stand before one that needs only some of them. The first entry claims every row with a field `tests`, so no published
# format with such a field can be recognised.
FORMATS: Sequence[Format] = (
    Format("stepcoder", "stepcoder-trl's own", ("tests",), _load_stepcoder),
    Format(
        "apps_plus", "APPS+", ("prompt", "canonical_solution", "starter_code", "inputs", "outputs"), _load_apps_plus
    ),
    Format("apps", "APPS", ("problem_id", "question", "input_output"), _load_apps, _apps_solutions),
    Format("mbpp", "MBPP", ("task_id", "text", "code", "test_list"), _load_mbpp),
    Format("mbpp_sanitized", "MBPP", ("task_id", "prompt", "code", "test_list"), _load_mbpp_sanitized),
    Format(
        "humaneval", "HumanEval", ("task_id", "prompt", "entry_point", "canonical_solution", "test"), _load_humaneval
    ),
    Format("leetcode", "LeetCodeDataset", ("task_id", "prompt", "completion", "entry_point", "test"), _load_leetcode),
    Format("codecontests", "CodeContests", ("id", "problem_md", "main_py", "inputs", "outputs"), _load_codecontests),
)

FORMAT_TITLES = ", ".join(dict.fromkeys(known.title for known in FORMATS))  # for help texts
