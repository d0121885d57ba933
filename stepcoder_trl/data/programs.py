"""Rows of the commands that run or cut programs: rows of their own form, or problems in any known format."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from stepcoder_trl.data.formats import FORMATS, LeftOut, read_sources
from stepcoder_trl.data.problems import Problem, misnamed
from stepcoder_trl.errors import BadInputError
from stepcoder_trl.executor.verdict.schema import Tests
from stepcoder_trl.jsonl import Row


T = TypeVar("T")

_OWN = "stepcoder"  # format of rows whose columns are used as they are


@dataclass(frozen=True)
class ProgramRow:
    """Program with its tests. The canonical solution of its problem may be the program."""

    id: str | int
    program: str
    tests: Tests
    is_solution: bool = False


@dataclass(frozen=True)
class SolutionRow:
    """Canonical solution with its starter code."""

    id: str | int
    canonical_solution: str
    starter_code: str


def read_programs(source: str) -> list[ProgramRow]:
    """
    Read programs with their tests. A problem without `program` has its canonical solution as program.

    A row without either is left out, and a warning counts such rows.

    Raises:
        BadInputError: If a row cannot be used, or none has a program or a solution.
    """
    return _usable(source, _program_row)


def read_solutions(source: str) -> list[SolutionRow]:
    """
    Read canonical solutions with their starter code. Rows without one are left out, and a warning counts them.

    Raises:
        BadInputError: If a row cannot be used, or none has a solution.
    """
    return _usable(source, _solution_row)


def _usable(source: str, read: Callable[[Row], T]) -> list[T]:
    """Read all rows of a source. A warning counts those that are in order but of no use, as in other languages."""
    found: list[T] = []
    skipped: list[LeftOut] = []
    for rows in read_sources(source):
        for row in rows:
            try:
                found.append(read(row))
            except LeftOut as reason:
                skipped.append(reason)
    if not found:
        raise skipped[0].__cause__ or skipped[0]
    if skipped:
        text = f"{source}: {len(skipped)} rows are left out, such as one that {skipped[0].reason}"
        warnings.warn(text, stacklevel=3)
    return found


def _program_row(row: Row) -> ProgramRow:
    problem = None if "program" in row.fields else _published_problem(row)
    if problem is not None:
        return ProgramRow(problem.task_id, problem.canonical_solution, problem.parsed_tests, True)
    has_solution = "program" not in row.fields and "canonical_solution" in row.fields
    if "program" not in row.fields:
        _leave_out_without(row, "canonical_solution" if has_solution else "program")
    program = row.text("canonical_solution" if has_solution else "program")
    return ProgramRow(row.id, program, Tests.parse(row.get("tests"), row.where), has_solution)


def _solution_row(row: Row) -> SolutionRow:
    problem = _published_problem(row)
    if problem is not None:
        return SolutionRow(problem.task_id, problem.canonical_solution, problem.starter_code)
    _leave_out_without(row, "canonical_solution")
    return SolutionRow(row.id, row.text("canonical_solution"), row.text("starter_code", ""))


def _leave_out_without(row: Row, name: str) -> None:
    """Raise a `LeftOut` for a problem that has no solution, or null in its place. Its cause is for a file of such."""
    if row.fields.get(name) is None and "tests" in row.fields:
        try:
            row.text(name)
        except BadInputError as reason:
            other = misnamed(row.fields, "canonical_solution")
            hint = "" if other is None else f" `{other}` is not read. Did you mean `canonical_solution`?"
            raise LeftOut(row.where, "has no `canonical_solution`", "Add one.") from BadInputError(f"{reason}{hint}")


def _published_problem(row: Row) -> Problem | None:
    """Return the problem of a row in a published format, whose solution may be spread over columns. Else `None`."""
    known = next((known for known in FORMATS if known.fits(row)), None)
    return None if known is None or known.name == _OWN else known.problem(row)
