"""Canonical solutions."""

from __future__ import annotations

import logging

import pytest

from stepcoder_trl.errors import SandboxError
from stepcoder_trl.steps.rows import as_rows
from stepcoder_trl.steps.solutions import SolutionReport, check_solutions, use_solutions
from stepcoder_trl.types import Execution, Outcome, TestResult


class Answers:
    """Executor that returns these results and records the limits."""

    timeout_s = 2.0

    def __init__(self, *answers):
        self.answers = list(answers)

    def run_many(self, programs, tests, on_error):
        self.limits = [one["timeout_s"] for one in tests]
        return self.answers


def ran(outcome, time_s):
    return Execution(outcome, (TestResult(outcome, time_s),), frozenset(), frozenset(), time_s, True)


@pytest.fixture
def rows(problems):
    return as_rows(problems[:4])


def test_solutions_that_fail_or_are_slow_are_reported(rows, caplog):
    answers = Answers(
        ran(Outcome.FAILED, 0.1), ran(Outcome.PASSED, 0.1), ran(Outcome.PASSED, 1.0), SandboxError("disk full")
    )

    with caplog.at_level(logging.WARNING, logger="stepcoder_trl"):
        report = check_solutions(rows, answers)

    assert answers.limits == [20.0] * 4
    assert report == SolutionReport({rows[0].task_id: "failed"}, {rows[2].task_id: 4.0})
    assert f"{rows[0].task_id} (failed)" in caplog.text


def test_report_is_applied_to_the_rows(rows):
    report = SolutionReport({rows[0].task_id: "failed"}, {rows[2].task_id: 4.0})

    used = use_solutions(rows, report)

    assert [bool(row.canonical_solution) for row in used] == [False, True, True, True]
    assert [row.tests.get("timeout_s") for row in used] == [None, None, 4.0, None]
