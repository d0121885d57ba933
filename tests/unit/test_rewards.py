"""Scores of the paper, outcome by outcome."""

from __future__ import annotations

import pytest

from stepcoder_trl.rewards import unit_test_reward, unit_test_score
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
def test_scores_are_the_papers(outcome, score):
    assert unit_test_score(execution(Outcome(outcome))) == score


def test_first_failure_decides_when_asked():
    mixed = execution(Outcome.PASSED, Outcome.FAILED, Outcome.RUNTIME_ERROR)

    assert unit_test_score(mixed) == -0.6
    assert unit_test_score(mixed, mode="first_failure") == -0.3


def test_a_program_that_could_not_be_run_is_not_scored():
    assert unit_test_reward(["a", "b"], execution=[execution(Outcome.PASSED), None]) == [1.0, None]


@pytest.mark.sandbox
def test_without_executions_the_programs_are_run():
    tests = {"type": "stdio", "inputs": [""], "outputs": ["3"]}

    rewards = unit_test_reward(["```python\nprint(3)\n```", "print(4)"], tests=[tests, tests])

    assert rewards == [1.0, -0.3]
