"""Check of the canonical solutions before training, and its consequences for the rows."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from stepcoder_trl.curriculum import Curriculum
from stepcoder_trl.errors import SandboxError
from stepcoder_trl.executor import Backend
from stepcoder_trl.executor.verdict.limits import TESTS_PER_PROGRAM_LIMIT
from stepcoder_trl.executor.verdict.schema import Tests
from stepcoder_trl.steps.rows import PromptRow
from stepcoder_trl.types import Execution, Outcome


logger = logging.getLogger(__name__)

_PATIENCE = 10  # multiple of its time limit that a solution gets
_STEPS, _LEAST_TOGETHER = 50, 100  # steps of the progress bar at most, solutions in a step at least
_MARGIN = 4  # multiple of the time of a solution that the programs of its problem get


@dataclass(frozen=True)
class SolutionReport:
    """
    Results of the canonical solutions.

    Attributes:
        failing (`Mapping[str, str]`): Outcome of each solution that fails its tests, by `task_id`.
        timeouts_s (`Mapping[str, float]`): New time limit for each slow solution, by `task_id`.
        untrusted (`Sequence[str]`): `task_id` of each row whose tests have to run with the program, see
            [`needs_its_tests_inside`].
    """

    failing: Mapping[str, str] = field(default_factory=dict)
    timeouts_s: Mapping[str, float] = field(default_factory=dict)
    untrusted: Sequence[str] = ()


def with_solution(rows: Sequence[PromptRow]) -> list[PromptRow]:
    """Return the rows that have tests and a canonical solution."""
    return [row for row in rows if row.tests is not None and row.canonical_solution.strip()]


def check_solutions(
    rows: Sequence[PromptRow],
    executor: Backend,
    advance: Callable[[int], object] = lambda number: None,
    consequence: str = "Their problems get no curriculum.",
) -> SolutionReport:
    """
    Run each canonical solution once, with ten times its time limit.

    A solution is slow if it needs more than a quarter of its limit. If the sandbox failed, it is not reported.
    `advance` is called with the number of solutions that were run since its last call. A warning names solutions that
    fail, and says the `consequence`.
    """
    rows = with_solution(rows)
    tests = [dict(row.tests or {}) for row in rows]
    limits = [float(one.get("timeout_s", executor.timeout_s)) for one in tests]
    generous = [patient(one, executor.timeout_s) for one in tests]
    runs: list[Execution | SandboxError] = []
    size = max(_LEAST_TOGETHER, -(-len(rows) // _STEPS))
    for first in range(0, len(rows), size):
        part = slice(first, first + size)
        solutions = [row.canonical_solution for row in rows[part]]
        runs += executor.run_many(solutions, generous[part], on_error="return")
        advance(len(solutions))
    runs, inside = with_runs_inside([row.canonical_solution for row in rows], generous, runs, executor)
    failing: dict[str, str] = {}
    timeouts_s: dict[str, float] = {}
    for row, limit, run in zip(rows, limits, runs, strict=True):
        if isinstance(run, SandboxError):
            continue
        # The limit of all tests together is a multiple of the limit of one.
        longest_s = max([run.time_s / TESTS_PER_PROGRAM_LIMIT, *(test.time_s for test in run.tests)])
        if run.outcome is not Outcome.PASSED:
            failing[row.task_id] = str(run.outcome)
        elif _MARGIN * longest_s > limit:
            timeouts_s[row.task_id] = _MARGIN * longest_s
    if failing:
        names = [f"{task_id} ({outcome})" for task_id, outcome in failing.items()]
        logger.warning(
            f"{len(failing)} of {len(rows)} solutions fail their tests: {', '.join(names[:10])}"
            f"{', ...' if len(names) > 10 else ''}. {consequence} Check solution and tests."
        )
    return SolutionReport(failing, timeouts_s, tuple(rows[index].task_id for index in inside))


def patient(tests: Mapping[str, Any], timeout_s: float) -> dict[str, Any]:
    """Return tests with the time limit of a canonical solution. `timeout_s` is the limit of tests without one."""
    return {**tests, "timeout_s": _PATIENCE * float(tests.get("timeout_s", timeout_s))}


def needs_its_tests_inside(tests: Mapping[str, Any], run: Execution | SandboxError) -> bool:
    """
    Return whether a canonical solution that failed may pass if its tests run with it.

    Some tests cannot be judged outside: they pass objects to the program that cannot be sent, or compare objects that
    it returns.
    """
    is_failing = isinstance(run, Execution) and run.outcome in (Outcome.FAILED, Outcome.RUNTIME_ERROR)
    return is_failing and tests["type"] == "assert" and tests.get("trusted") is not False


def with_runs_inside(
    solutions: Sequence[str],
    tests: Sequence[Mapping[str, Any]],
    runs: Sequence[Execution | SandboxError],
    executor: Backend,
) -> tuple[list[Execution | SandboxError], list[int]]:
    """
    Run failing solutions again with their tests inside. A blank solution is none.

    Return the runs that count, and the indices of those that pass inside alone.
    """
    again = [
        index
        for index, run in enumerate(runs)
        if solutions[index].strip() and needs_its_tests_inside(tests[index], run)
    ]
    marked = [{**tests[index], "trusted": False} for index in again]
    found = executor.run_many([solutions[index] for index in again], marked, on_error="return") if again else []
    passing = {
        index: run
        for index, run in zip(again, found, strict=True)
        if isinstance(run, Execution) and run.outcome is Outcome.PASSED
    }
    return [passing.get(index, run) for index, run in enumerate(runs)], list(passing)


def use_solutions(rows: Sequence[PromptRow], report: SolutionReport) -> list[PromptRow]:
    """Return the rows without failing solutions, with the new time limits, and marked where they are untrusted."""
    used = []
    for row in rows:
        if row.task_id in report.failing:
            row = replace(row, canonical_solution="")
        changes: dict[str, Any] = {}
        if row.task_id in report.timeouts_s:
            changes["timeout_s"] = report.timeouts_s[row.task_id]
        if row.task_id in report.untrusted:
            changes["trusted"] = False
        if changes:
            row = replace(row, tests=Tests.parse({**(row.tests or {}), **changes}))
        used.append(row)
    return used


def restart_problems(curriculum: Curriculum, fresh: Curriculum, task_ids: Iterable[str]) -> Curriculum:
    """Load the state of a curriculum into a new one of the same problems, except for the given problems. Return it."""
    state, new = curriculum.state_dict(), fresh.state_dict()
    state["problems"].update({task_id: new["problems"][task_id] for task_id in task_ids})
    fresh.load_state_dict(state)
    return fresh
