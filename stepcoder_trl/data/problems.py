"""Define `Problem`, the checked form of one dataset row."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import InitVar, dataclass, field
from functools import cached_property
from typing import Any, NoReturn

from stepcoder_trl.errors import BadInputError
from stepcoder_trl.executor.verdict.schema import Tests, validate_tests
from stepcoder_trl.jsonl import json_text, shown


ChatMessages = list[dict[str, str]]  # each with "role" and "content"

DIFFICULTIES = ("introductory", "interview", "competition")  # in the order of tables, before all others
_ALIKE = 0.85  # similarity of a misspelt name
_COLUMNS = ("task_id", "prompt", "starter_code", "canonical_solution", "tests", "difficulty")
_REQUIRED_FIX = {
    "task_id": "Give each row a unique `task_id`, as a string.",
    "prompt": "Give the prompt as a string or as chat messages.",
    "tests": "Give at least one test, in one of the forms that docs/data.md shows.",
}


# Names that others give to a column. They are not read: what they hold may be something else.
_OTHER_NAMES = {
    "prompt": ("question", "problem", "description", "instruction", "text"),
    "canonical_solution": ("solution", "canonical", "reference_solution", "reference", "answer", "code"),
    "starter_code": ("starter", "stub", "entry_code"),
    "tests": ("test", "test_cases", "testcases", "unit_tests", "test_list"),
}


def misnamed(row: Mapping[str, Any], column: str) -> str | None:
    """Return the name of a row's column that probably holds what `column` should. `None` if there is none."""
    others = (name for name, value in row.items() if value and isinstance(name, str) and name not in _COLUMNS)
    own = {name.lower(): name for name in others}
    close = difflib.get_close_matches(column, own, n=1, cutoff=_ALIKE)
    return next((own[name] for name in (*_OTHER_NAMES.get(column, ()), *close) if name in own), None)


@dataclass(frozen=True)
class Problem:
    """
    Programming problem with tests. All values are checked on creation.

    Args:
        task_id (`str`):
            Id of the problem, unique in its dataset.
        prompt (`str` or `list[dict[str, str]]`):
            Requirement without the starter code: plain text, or chat messages that do not end with the assistant's.
        starter_code (`str`, *optional*, defaults to `""`):
            Code that the answer begins with.
        canonical_solution (`str`, *optional*, defaults to `""`):
            Complete runnable program. A problem without one has no curriculum.
        tests (`dict[str, Any]`):
            Tests in one of the forms of [`validate_tests`], as an object or as JSON text. Stored as an object.
        difficulty (`str` or `None`, *optional*):
            Any text. `"introductory"`, `"interview"` and `"competition"` come first in tables.
        columns (`Mapping[str, Any]`, *optional*):
            Columns of your own, which reward functions get.
        where (`str`, *optional*):
            Place named in error messages, e.g. `"problems.jsonl:3"`. Not stored.

    Raises:
        BadInputError: If a value is invalid. The message names the place, the field, the value and the fix.
    """

    task_id: str
    prompt: str | ChatMessages = field(hash=False)
    starter_code: str = ""
    canonical_solution: str = ""
    tests: dict[str, Any] = field(default_factory=dict, hash=False)
    difficulty: str | None = None
    columns: Mapping[str, Any] = field(default_factory=dict, hash=False)
    where: InitVar[str] = ""

    def __post_init__(self, where: str) -> None:
        check = _ProblemChecker(where or f"`Problem` {shown(self.task_id)}")
        check.task_id(self.task_id)
        object.__setattr__(self, "prompt", check.prompt(self.prompt))
        check.text("starter_code", self.starter_code, 'Leave it `""` if there is none.')
        check.text("canonical_solution", self.canonical_solution, 'Leave it `""` if there is none.')
        if self.prompt == "" and not self.starter_code:
            check.fail("`prompt` and `starter_code` are both empty. Say what the program must do.")
        object.__setattr__(self, "tests", validate_tests(self.tests, check.where))
        check.difficulty(self.difficulty)

    @cached_property
    def parsed_tests(self) -> Tests:
        """Tests for executors, which do not check them again: use it to run many programs of this problem."""
        return Tests.parse(self.tests)

    @classmethod
    def from_row(cls, row: Mapping[str, Any], where: str = "row") -> Problem:
        """
        Create a problem from a row of JSONL, parquet or a `datasets` dataset.

        `task_id`, `prompt` and `tests` are required. `id`, a string or an integer, may stand for `task_id`. `None` in
        an optional column means absent. Other columns are kept in `columns`. Error messages name the place `where`,
        e.g. `"problems.jsonl:3"`.
        """
        if not isinstance(row, Mapping):
            raise BadInputError(f"{where}: the row is {shown(row)}, but must be an object with columns.")
        row = _with_task_id(row)
        for column, fix in _REQUIRED_FIX.items():
            if row.get(column) is None:
                found = "is null" if column in row else "is missing"
                other = misnamed(row, column)
                hint = "" if other is None else f" Did you mean `{other}`, which is not read? Then rename it."
                raise BadInputError(f"{where}: `{column}` {found}. {fix}{hint}")
        optional = ("starter_code", "canonical_solution", "difficulty")
        given = {column: row[column] for column in optional if row.get(column) is not None}
        own = {column: value for column, value in row.items() if column not in _COLUMNS}
        return cls(row["task_id"], row["prompt"], tests=row["tests"], columns=own, where=where, **given)

    def to_row(self) -> dict[str, Any]:
        """
        Convert the problem to a row for JSONL, parquet or a `datasets` dataset. Inverse of `from_row`.

        `tests` is JSON text, because the rows of a table differ in their forms. Columns of one's own follow the
        others.
        """
        return {
            "task_id": self.task_id,
            "prompt": self.prompt if isinstance(self.prompt, str) else [dict(message) for message in self.prompt],
            "starter_code": self.starter_code,
            "canonical_solution": self.canonical_solution,
            "tests": json_text(self.tests),
            "difficulty": self.difficulty,
            **self.columns,
        }


def _with_task_id(row: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a row whose `id` is its `task_id`, if it has only the former."""
    identifier = row.get("id")
    if row.get("task_id") is not None or identifier is None:
        return row
    named = str(identifier) if type(identifier) is int else identifier
    return {**{column: value for column, value in row.items() if column != "id"}, "task_id": named}


class _ProblemChecker:
    """Check the fields of a problem. Error messages name the place `where`."""

    def __init__(self, where: str) -> None:
        self.where = where

    def fail(self, message: str) -> NoReturn:
        raise BadInputError(f"{self.where}: {message}")

    def text(self, column: str, value: Any, fix: str) -> None:
        if not isinstance(value, str):
            self.fail(f"`{column}` is {shown(value)}, but must be a str. {fix}")
        try:
            value.encode()
        except UnicodeEncodeError as error:
            self.fail(
                f"`{column}` holds a lone surrogate at character {error.start}. UTF-8 cannot encode it. Replace it."
            )

    def task_id(self, value: Any) -> None:
        self.text("task_id", value, 'Write it as a string: `"17"`, not `17`.')
        if not value.strip():
            self.fail(f"`task_id` is {shown(value)}, but must not be blank. {_REQUIRED_FIX['task_id']}")

    def prompt(self, value: Any) -> str | ChatMessages:
        if isinstance(value, (list, tuple)):
            return self.messages(value)
        self.text("prompt", value, "Chat messages are a list of objects with `role` and `content`.")
        text: str = value
        return text

    def messages(self, messages: Sequence[Any]) -> ChatMessages:
        form = 'Write messages as `[{"role": "user", "content": "..."}]`.'
        if not messages:
            self.fail(f"`prompt` is an empty list of chat messages. {form}")
        checked = []
        for index, message in enumerate(messages):
            if not isinstance(message, Mapping):
                self.fail(f"`prompt[{index}]` is {shown(message)}, but must be an object. {form}")
            for key in ("role", "content"):
                if key not in message:
                    self.fail(f"`prompt[{index}].{key}` is missing. {form}")
                self.text(f"prompt[{index}].{key}", message[key], form)
            checked.append({"role": message["role"], "content": message["content"]})
        if checked[-1]["role"] == "assistant":
            self.fail(
                "`prompt` ends with a message of the assistant, but the model generates the answer. Put the beginning "
                "of the answer into `starter_code`."
            )
        return checked

    def difficulty(self, value: Any) -> None:
        if value is not None:
            self.text("difficulty", value, "Write it as text, or leave it null.")


def check_unique_task_ids(problems: Sequence[Problem], places: Sequence[str]) -> None:
    """Raise an error that names both places, such as `"problems.jsonl:3"`, if two problems share a `task_id`."""
    seen: dict[str, str] = {}
    for problem, place in zip(problems, places, strict=True):
        if problem.task_id in seen:
            raise repetition(problem.task_id, place, seen[problem.task_id])
        seen[problem.task_id] = place


def repetition(task_id: str, place: str, first: str) -> BadInputError:
    """Return the error about a row whose `task_id` is that of an earlier one."""
    return BadInputError(
        f"{place}: `task_id` {shown(task_id)} is already used by {first}. Give each row a unique `task_id`."
    )
