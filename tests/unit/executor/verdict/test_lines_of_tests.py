"""Test what is believed of the lines that a program's process reports for each test."""

from __future__ import annotations

from typing import Any

import pytest

from stepcoder_trl.executor.verdict.lines_of_tests import NOT_RUN, with_lines_of_tests
from stepcoder_trl.executor.verdict.remembering import Sharing
from stepcoder_trl.types import Execution, Outcome, TestResult


PROGRAM = "def f(x):\n    if x:\n        return 1\n    return 2\n"
EVERY = [1, 2, 3, 4]


def lines_of(ran: Any, sharing: Sharing = Sharing.MODULE, tests: tuple[TestResult, ...] | None = None) -> list[Any]:
    tests = tests or (TestResult(Outcome.PASSED),) * 2
    execution = Execution(Outcome.PASSED, tests, frozenset(EVERY), frozenset(EVERY), 0.0, True)
    found = with_lines_of_tests(PROGRAM, execution, EVERY, ran, sharing)
    return [
        test.executed_lines if test.executed_lines is None else sorted(test.executed_lines) for test in found.tests
    ]


def test_believed_claims() -> None:
    assert lines_of(["e", "16"]) == [[1, 2, 3], [1, 2, 4]]


@pytest.mark.parametrize("ran", [None, "e", ["e"], ["e", "16", "2"]])
def test_reply_without_lines_of_tests_gives_none(ran: Any) -> None:
    assert lines_of(ran) == [None, None]


@pytest.mark.parametrize(
    ("ran", "lines"),
    [
        ([None, "e"], [EVERY, [1, 2, 3]]),  # unknown
        (["3e", "e"], [EVERY, [1, 2, 3]]),  # a line that did not run
        (["1e", "a"], [EVERY, EVERY]),  # line 3 without line 2
        (["e", "6"], [EVERY, EVERY]),  # line 4 ran in no test
        (["0", "e"], [EVERY, [1, 2, 3]]),
    ],
)
def test_claim_that_cannot_be_true_gives_all_lines(ran: list[Any], lines: list[Any]) -> None:
    assert lines_of(ran) == lines


def test_tests_that_share_objects_have_all_lines() -> None:
    assert lines_of(["e", "16"], Sharing.OBJECTS) == [EVERY, EVERY]


def test_test_that_was_not_run_has_lines_of_the_one_before() -> None:
    failed, not_run = TestResult(Outcome.FAILED), TestResult(Outcome.FAILED, message=NOT_RUN)

    assert lines_of(["16", "0", "0"], tests=(failed, not_run, not_run))[1:] == [[1, 2, 4]] * 2


def test_many_sets_of_lines_of_a_long_program_are_not_checked() -> None:
    program = PROGRAM + "x = 1\n" * 4000
    every = range(1, 4005)
    execution = Execution(
        Outcome.PASSED, (TestResult(Outcome.PASSED),) * 200, frozenset(every), frozenset(every), 0.0, True
    )
    full = sum(1 << line for line in every)
    ran = [f"{full & ((1 << (3806 + number)) - 1):x}" for number in range(200)]  # each without the last lines

    found = with_lines_of_tests(program, execution, list(every), ran, Sharing.NOTHING)

    assert {test.executed_lines for test in found.tests} == {frozenset(every)}
