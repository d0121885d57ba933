"""Scores of outcomes, and the reward functions."""

from __future__ import annotations

from dataclasses import replace

import pytest

from stepcoder_trl.errors import BadInputError
from stepcoder_trl.rewards import (
    adaptive_score,
    error_lines,
    mean_test_reward,
    mean_test_score,
    ppocoder_reward,
    ppocoder_score,
    rltf_reward,
    unit_test_reward,
    unit_test_score,
)
from stepcoder_trl.types import Execution, Outcome, TestResult


def execution(*outcomes):
    order = [
        Outcome.COMPILE_ERROR,
        Outcome.TIMEOUT,
        Outcome.MEMORY_EXCEEDED,
        Outcome.RUNTIME_ERROR,
        Outcome.FAILED,
        Outcome.PASSED,
    ]
    worst = min(outcomes, key=order.index)
    return Execution(worst, tuple(TestResult(o) for o in outcomes), frozenset(), frozenset(), 0.0, True)


@pytest.mark.parametrize(
    ("outcome", "score"),
    [
        ("passed", 1.0),
        ("failed", -0.3),
        ("runtime_error", -0.6),
        ("timeout", -0.6),
        ("memory_exceeded", -0.6),
        ("compile_error", -1.0),
    ],
)
def test_scores_equal_those_of_paper(outcome, score):
    assert unit_test_score(execution(Outcome(outcome))) == score


def test_mean_score_by_hand():
    run = execution(Outcome.PASSED, Outcome.FAILED, Outcome.TIMEOUT)

    assert mean_test_score(run) == pytest.approx((1 - 0.3 - 0.6) / 3)
    assert unit_test_score(run) == -0.6
    assert mean_test_reward(["a", "b"], execution=[run, None]) == [mean_test_score(run), None]


@pytest.mark.parametrize("outcome", list(Outcome))
def test_mean_score_of_equal_outcomes_is_that_of_paper(outcome):
    assert mean_test_score(execution(outcome)) == unit_test_score(execution(outcome))
    assert mean_test_score(execution(outcome, outcome)) == pytest.approx(unit_test_score(execution(outcome)))


def test_program_that_was_not_run_has_no_score():
    assert unit_test_reward(["a", "b"], execution=[execution(Outcome.PASSED), None]) == [1.0, None]


def test_untrusted_pass_is_scored_unless_dropped():
    forged = replace(execution(Outcome.PASSED), trusted=False)
    failed = replace(execution(Outcome.FAILED), trusted=False)

    assert unit_test_reward(["a", "b"], execution=[forged, failed]) == [1.0, -0.3]
    assert unit_test_reward(["a", "b"], execution=[forged, failed], untrusted_passes="drop") == [None, -0.3]
    with pytest.raises(BadInputError, match="'accept' or 'drop'"):
        unit_test_reward(["a"], execution=[forged], untrusted_passes="no")


def test_adaptive_score_of_known_results():
    # -0.3 + 1.3 x 1/4.
    partly = execution(Outcome.PASSED, *[Outcome.FAILED] * 3)

    assert adaptive_score(partly) == pytest.approx(0.025)
    assert adaptive_score(execution(Outcome.FAILED)) == -0.3
    assert adaptive_score(execution(Outcome.PASSED, Outcome.RUNTIME_ERROR)) == -0.6
    assert rltf_reward(["a", "b"], [partly, None]) == [pytest.approx(0.025), None]


def test_ppocoder_score_adds_both_matches():
    assert ppocoder_score(execution(Outcome.FAILED), 0.5, 0.25) == pytest.approx(0.45)


def test_ppocoder_reward_compares_with_canonical_solution():
    pytest.importorskip("tree_sitter_python")
    failed = execution(Outcome.FAILED)

    scores = ppocoder_reward(["a", "b"], [failed, None], program=["x = 1", "y"], canonical_solution=["z = 2", "y"])

    # -0.3 + 1 for the syntax + 1 for the data flow: only the name and the number differ.
    assert scores == [pytest.approx(1.7), None]


PROGRAM = "a = 1\nb = 2\nc = 3\n"


@pytest.mark.parametrize(
    ("outcome", "line", "message", "lines"),
    [
        (Outcome.PASSED, None, "", set()),
        (Outcome.FAILED, 2, "wrong", set()),
        (Outcome.RUNTIME_ERROR, 2, "NameError: x", {2}),
        (Outcome.RUNTIME_ERROR, None, "killed", set()),
        (Outcome.RUNTIME_ERROR, 2, "RecursionError: too deep", {1, 2, 3}),
        (Outcome.TIMEOUT, 2, "time limit exceeded", {1, 2, 3}),
        (Outcome.COMPILE_ERROR, 2, "SyntaxError: invalid syntax", {2}),
        (Outcome.COMPILE_ERROR, 3, "SyntaxError: '(' was never closed", {1, 2, 3}),
        (Outcome.COMPILE_ERROR, None, "ValueError: null bytes", set()),
    ],
)
def test_error_lines_equal_those_of_rltf(outcome, line, message, lines):
    tests = (TestResult(Outcome.PASSED), TestResult(outcome, 0.0, message, line))

    assert error_lines(PROGRAM, Execution(outcome, tests, frozenset(), frozenset(), 0.0, True)) == lines
