"""Reads CodeContests: the rows that DeepMind publishes, and the folders of a repository made from them."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from stepcoder_trl.data.formats.common import Format, LeftOut, first_that_parses, paragraph, records
from stepcoder_trl.data.problems import Problem
from stepcoder_trl.errors import BadInputError
from stepcoder_trl.jsonl import Row, shown


_GROUPS = ("public_tests", "private_tests", "generated_tests")
_PYTHON_3 = (3, "PYTHON3", "python3", "py3")
_MIN_MEMORY_BYTES = 2**20


def _load(row: Row) -> Problem:
    text = row.text("problem_md")
    description = re.search(
        r"^## Description\n(.*?)(?=^## (?:Categories|Source|Examples|Testing)\b|\Z)", text, re.MULTILINE | re.DOTALL
    )
    return Problem(
        task_id=row.text("id"),
        prompt=paragraph(description[1] if description else text),
        canonical_solution=row.text("main_py"),
        tests={"type": "stdio", "inputs": row.items("inputs"), "outputs": row.items("outputs")},
        where=row.where,
    )


def _load_published(row: Row) -> Problem:
    for name in ("input_file", "output_file"):
        if file := row.text(name, ""):
            raise LeftOut(row.where, f"uses the file {file}", "Only standard input and output can be tested.")
    cases = [case for name in _GROUPS for case in records(row, name, row.json(name))]
    return Problem(
        task_id=row.text("name"),
        prompt=paragraph(row.text("description")),
        canonical_solution=first_that_parses(_python_solutions(row)),
        tests={
            "type": "stdio",
            "inputs": [case.get("input") for case in cases],
            "outputs": [case.get("output") for case in cases],
            **_limits(row),
        },
        where=row.where,
    )


def _load_plus(row: Row) -> Problem:
    cases = [(case.get("input"), case.get("output")) for case in records(row, "test_cases", row.json("test_cases"))]
    return _with_cases(row, str(row.id), cases, first_that_parses(_python_solutions(row, *_PLUS)))


def _load_o(row: Row) -> Problem:
    cases = []
    for case in records(row, "corner_cases", row.json("corner_cases")):
        given, expected = case.get("input"), case.get("output")
        if not isinstance(given, Mapping) or not isinstance(expected, Mapping):
            raise BadInputError(
                f"{row.where}: `corner_cases` has the entry {shown(case)}, but each must have `input.stdin` and "
                "`output.stdout`. Correct it."
            )
        cases.append((given.get("stdin"), expected.get("stdout")))
    return _with_cases(row, row.text("name"), cases, first_that_parses(_python_solutions(row)))


def _with_cases(row: Row, name: str, cases: Sequence[tuple[Any, Any]], solution: str) -> Problem:
    """Return a problem of a set with checkers. One in C++ cannot be run, and other answers may be right without it."""
    if row.text("checker", "").strip():
        raise LeftOut(row.where, "has a checker in C++", "Only a checker in Python can be run.")
    return Problem(
        task_id=name,
        prompt=paragraph(row.text("description")),
        canonical_solution=solution,
        tests={"type": "stdio", "inputs": [case[0] for case in cases], "outputs": [case[1] for case in cases]},
        where=row.where,
    )


_PLUS = ("correct_submissions", "code")


def _python_solutions(row: Row, name: str = "solutions", text: str = "solution") -> list[str]:
    """Return the solutions in Python 3."""
    found = []
    for entry in records(row, name, row.json(name)):
        if entry.get("language") in _PYTHON_3:
            solution = entry.get(text)
            if not isinstance(solution, str):
                raise BadInputError(f"{row.where}: a solution is {shown(solution)}, but must be a string. Correct it.")
            found.append(solution)
    return found


def _limits(row: Row) -> dict[str, Any]:
    """Return the limits of time and memory that the row gives."""
    limits: dict[str, Any] = {}
    time = row.fields.get("time_limit")
    if time is not None:
        parts = [time.get("seconds", 0), time.get("nanos", 0)] if isinstance(time, Mapping) else [time, 0]
        if not all(part is None or (isinstance(part, (int, float)) and not isinstance(part, bool)) for part in parts):
            raise BadInputError(
                f"{row.where}: `time_limit` is {shown(time)}, but must be `{{seconds, nanos}}`. Correct it."
            )
        seconds = (parts[0] or 0) + (parts[1] or 0) / 1e9
        limits.update({"timeout_s": seconds} if seconds > 0 else {})
    memory = row.fields.get("memory_limit_bytes")  # pandas writes a column with gaps as floats
    if isinstance(memory, (int, float)) and _MIN_MEMORY_BYTES <= memory < math.inf:
        limits["memory_limit_bytes"] = int(memory)
    return limits


CODECONTESTS = Format(
    "codecontests",
    "CodeContests",
    ("name", "description", "|".join(_GROUPS)),
    _load_published,
    licence="CC BY 4.0",
    reads="the tests of all three groups; the first solution in Python 3, all of them for `refine`; `time_limit` and "
    "`memory_limit_bytes`",
    refuses="problems that read or write files are left out and counted",
    solutions=lambda row, problem: _python_solutions(row),
)
CODECONTESTS_PLUS = Format(
    "codecontests_plus",
    "CodeContests+",
    ("id", "description", "test_cases", "correct_submissions|incorrect_submissions|validator"),
    _load_plus,
    licence="CC BY 4.0",
    reads="`test_cases` of `1x` to `5x`; the first of `correct_submissions` in Python 3, all of them for `refine`. "
    "`time_limit` and `memory_limit` are not read: we found no statement of their units",
    refuses="rows with a checker, which is in C++, are left out and counted",
    knows=("checker",),
    solutions=lambda row, problem: _python_solutions(row, *_PLUS),
)
CODECONTESTS_O = Format(
    "codecontests_o",
    "CodeContests-O",
    ("name", "description", "corner_cases"),
    _load_o,
    licence="Apache-2.0",
    reads="`corner_cases`. There are no solutions, unless `solutions` of CodeContests is joined by `name`",
    refuses="rows with a checker, which is in C++, are left out and counted",
    knows=("checker",),
    solutions=lambda row, problem: _python_solutions(row),
)
CODECONTESTS_REPO = Format(
    "codecontests_repo",
    "CodeContests",
    ("id", "problem_md", "main_py", "inputs", "outputs"),
    _load,
    licence="none stated",
    reads="the folders of justinchiu-test/codecontests-repo, one row each: description with its examples, `stdio`",
)
