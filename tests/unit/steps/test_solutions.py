"""Canonical solutions."""

from __future__ import annotations

import logging
from dataclasses import replace

import pytest

from stepcoder_trl import CodeExecutor, ExecutorConfig
from stepcoder_trl.errors import SandboxError
from stepcoder_trl.executor.verdict.schema import Tests
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


class Recorder(Answers):
    """Executor that returns one list of results after the other, and records the tests."""

    def __init__(self, *answers):
        super().__init__(*answers)
        self.tests = []

    def run_many(self, programs, tests, on_error):
        self.tests.append(list(tests))
        return self.answers.pop(0)


ASSERTS = {"type": "assert", "setup": "", "asserts": ["assert f(1) == Point(1)"]}


def test_rows_whose_solution_passes_only_with_its_tests_inside_are_marked(rows):
    rows = [replace(row, tests=Tests.parse(ASSERTS)) for row in rows[:3]]
    marked = replace(rows[2], task_id="marked", tests=Tests.parse({**ASSERTS, "trusted": False}))
    failed, passed = ran(Outcome.FAILED, 0.1), ran(Outcome.PASSED, 0.1)
    executor = Recorder([failed, ran(Outcome.RUNTIME_ERROR, 0.1), passed, failed], [passed, failed])

    report = check_solutions([*rows, marked], executor)

    assert [one.get("trusted") for one in executor.tests[1]] == [False, False]
    assert report.untrusted == (rows[0].task_id,)
    assert report.failing == {rows[1].task_id: "runtime_error", "marked": "failed"}
    used = use_solutions([*rows, marked], report)
    assert [row.tests.get("trusted") for row in used] == [False, None, None, False]


@pytest.mark.parametrize(
    ("tests", "outcome"),
    [
        ({"type": "stdio", "inputs": [""], "outputs": [""]}, Outcome.FAILED),
        (ASSERTS, Outcome.TIMEOUT),
        (ASSERTS, Outcome.COMPILE_ERROR),
        ({**ASSERTS, "trusted": False}, Outcome.FAILED),
    ],
)
def test_other_failing_solutions_run_once(rows, tests, outcome):
    executor = Recorder([ran(outcome, 0.1)])

    report = check_solutions([replace(rows[0], tests=Tests.parse(tests))], executor)

    assert report.untrusted == ()
    assert list(report.failing.values()) == [str(outcome)]


@pytest.mark.sandbox
def test_solution_whose_answers_cannot_be_judged_outside_marks_its_row(rows):
    check = (
        "import numpy\ndef check(candidate):\n    values = numpy.array([1, 2])\n    assert candidate(values) == 3\n"
    )
    point = "class Point:\n    def __init__(self, x):\n        self.x = x\n    def __eq__(self, other):\n"
    point += "        return other == self.x\ndef f(x):\n    return Point(x)\n"
    pairs = [
        ("def f(x):\n    return int(x.sum())\n", {"type": "assert", "setup": check, "asserts": ["check(f)"]}),
        (point, {"type": "assert", "setup": "", "asserts": ["assert f(1) == 1"]}),
        ("def f(x):\n    return x\n", {"type": "assert", "setup": "", "asserts": ["assert f(1) == 1"]}),
        ("def f(x):\n    return 2\n", {"type": "assert", "setup": "", "asserts": ["assert f(1) == 1"]}),
    ]
    rows = [
        replace(row, canonical_solution=solution, tests=Tests.parse(tests))
        for row, (solution, tests) in zip(rows, pairs, strict=True)
    ]

    with CodeExecutor(ExecutorConfig(num_workers=1)) as executor:
        report = check_solutions(rows, executor)
        used = use_solutions(rows, report)
        outcomes = [executor.run(row.canonical_solution, row.tests) for row in used if row.canonical_solution]

    assert report.untrusted == (rows[1].task_id,)  # the text of the first check says that it runs inside
    assert list(report.failing) == [rows[3].task_id]
    assert [(run.outcome, run.trusted) for run in outcomes] == [
        (Outcome.PASSED, False),
        (Outcome.PASSED, False),
        (Outcome.PASSED, True),
    ]
