from __future__ import annotations

import math
from dataclasses import replace

import pytest

from stepcoder_trl.data import Problem
from stepcoder_trl.errors import BadInputError
from stepcoder_trl.evaluation.results import EvaluatedSample, Evaluation
from stepcoder_trl.evaluation.summary import compare_runs, limits_of, result_rows, summarize
from stepcoder_trl.executor import ExecutorConfig
from stepcoder_trl.types import Execution, Outcome, TestResult


TESTS = {"type": "stdio", "inputs": ["", ""], "outputs": ["1", "1"]}
PROBLEMS = [
    Problem("a", "p", tests=TESTS, difficulty="interview"),
    Problem("b", "p", tests=TESTS),
]


def execution(*outcomes, trusted=True):
    worst = next((outcome for outcome in outcomes if outcome is not Outcome.PASSED), Outcome.PASSED)
    tests = tuple(TestResult(outcome, message="" if outcome is Outcome.PASSED else "why") for outcome in outcomes)
    return Execution(worst, tests, frozenset(), frozenset(), 0.0, trusted)


GOOD = execution(Outcome.PASSED, Outcome.PASSED)
HALF = execution(Outcome.PASSED, Outcome.FAILED)


def sample(task_id, run, error=""):
    return EvaluatedSample(task_id, "", "", run, error)


def test_summary_worked_by_hand():
    evaluation = Evaluation((sample("a", GOOD), sample("a", HALF), sample("b", HALF), sample("b", None, "disk full")))

    summary = summarize(evaluation, PROBLEMS, [1, 2])

    # a: 1 of 2 pass, b: 0 of 1. Tests: a (1 + 1/2) / 2, b 1/2.
    assert summary["pass@1"]["value"] == 0.25
    assert 0 < summary["pass@1"]["low"] < 0.25 < summary["pass@1"]["high"] < 1
    assert (summary["pass@2"]["value"], summary["pass@2"]["problems"]) == (1.0, 1)
    assert summary["strict_accuracy"] == pytest.approx(1 / 3)
    assert summary["test_case_average"] == pytest.approx(0.625)
    assert summary["infrastructure_errors"] == 1
    assert list(summary["outcomes"]) == ["interview", "unknown", "all"]
    assert summary["outcomes"]["interview"]["failed"] == 0.5
    assert summary["outcomes"]["all"]["passed"] == pytest.approx(1 / 3)
    assert list(summary["difficulties"]) == ["interview", "unknown"]
    assert summary["difficulties"]["interview"]["problems"] == 1
    assert summary["difficulties"]["interview"]["pass@1"]["value"] == 0.5
    assert summary["difficulties"]["unknown"]["pass@2"] is None


def test_base_tests_have_figures_of_their_own():
    problems = [replace(problem, columns={"num_base_tests": 1}) for problem in PROBLEMS]
    evaluation = Evaluation((sample("a", GOOD), sample("a", HALF), sample("b", execution(*[Outcome.FAILED] * 2))))

    summary = summarize(evaluation, problems, [1])

    assert summary["pass@1"]["value"] == 0.25
    assert summary["base"]["pass@1"]["value"] == 0.5
    assert "base" not in summarize(evaluation, [problems[0], PROBLEMS[1]], [1])


def test_difficulties_of_ones_own_follow_those_of_apps():
    names = {"a": "zebra", "b": "easy", "c": "competition"}
    problems = [replace(PROBLEMS[1], task_id=name, difficulty=difficulty) for name, difficulty in names.items()]

    summary = summarize(Evaluation(tuple(sample(name, GOOD) for name in names)), problems, [1])

    assert list(summary["outcomes"]) == ["competition", "easy", "zebra", "all"]
    assert list(summary["difficulties"]) == ["competition", "easy", "zebra"]


def test_limits_are_stated():
    stated = limits_of(ExecutorConfig(timeout_s=2.0, program_timeout_s=math.inf, float_tolerance=1e-6))

    assert stated == {
        "timeout_s": 2.0,
        "program_timeout_s": "timeout_s per test",
        "memory_limit_bytes": 512 * 2**20,
        "float_tolerance": 1e-6,
    }


def test_untrusted_passes_are_counted():
    summary = summarize(Evaluation((sample("a", execution(Outcome.PASSED, trusted=False)),)), PROBLEMS, [1])

    assert summary["untrusted_passes"] == 1


def test_k_beyond_sample_count_is_rejected():
    with pytest.raises(BadInputError, match="pass@5 needs 5 samples of a problem, but there are at most 1"):
        summarize(Evaluation((sample("a", GOOD),)), PROBLEMS, [5])


def test_pass_at_k_is_none_with_too_few_executed_samples():
    summary = summarize(Evaluation((sample("a", GOOD), sample("a", None, "disk full"))), PROBLEMS, [1, 2])

    assert summary["pass@1"]["value"] == 1.0
    assert summary["pass@2"] is None


@pytest.mark.parametrize("run", [GOOD, HALF])
def test_interval_of_equal_problems_is_wide(run):
    found = summarize(Evaluation((sample("a", run), sample("b", run))), PROBLEMS, [1])["pass@1"]

    assert found["low"] <= found["value"] <= found["high"]
    assert found["high"] - found["low"] > 0.5


def test_result_rows():
    rows = list(result_rows(Evaluation((sample("a", HALF), sample("a", None, "disk full")))))

    assert rows == [
        {
            "task_id": "a",
            "sample": 0,
            "passed": False,
            "outcome": "failed",
            "tests_passed": 1,
            "tests": 2,
            "trusted": True,
            "message": "why",
        },
        {
            "task_id": "a",
            "sample": 1,
            "passed": None,
            "outcome": None,
            "tests_passed": None,
            "tests": None,
            "trusted": None,
            "message": "disk full",
        },
    ]


def row(task_id, passed, sample=0):
    return {"task_id": task_id, "sample": sample, "passed": passed}


def test_runs_are_compared_on_first_samples_of_common_problems():
    first = [row("a", True), row("b", True), row("c", False), row("d", None), row("a", False, sample=1)]
    second = [row("a", False), row("b", True), row("c", False), row("d", True), row("e", True)]

    found = compare_runs(first, second)

    assert found == {"problems": 3, "both": 1, "only_first": 1, "only_second": 0, "neither": 1, "p_value": 1.0}
    with pytest.raises(BadInputError, match="no scored problem in common"):
        compare_runs(first, [row("z", True)])
