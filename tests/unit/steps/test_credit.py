"""Credit of the tests in a batch, and the options of FGO per test."""

from __future__ import annotations

import functools

import pytest
import torch

from stepcoder_trl import BadInputError, CodeExecutor, ExecutorConfig
from stepcoder_trl.masking import MaskRule
from stepcoder_trl.rewards import mean_test_reward, rltf_reward, unit_test_reward
from stepcoder_trl.steps import credit
from stepcoder_trl.steps.rows import PromptRow
from stepcoder_trl.types import Execution, Outcome, TestResult
from tests.unit.steps.samples import make_completion


def executed(*results):
    tests = tuple(TestResult(outcome, executed_lines=frozenset(lines)) for outcome, lines in results)
    every = frozenset().union(*(lines for _, lines in results))
    return Execution(Outcome.FAILED, tests, every, every, 0.0, True)


PASSED, FAILED = Outcome.PASSED, Outcome.FAILED


def test_credit_of_a_batch_by_hand():
    # "a" on line 2 ran in both tests, "b" on line 3 in the second alone. The scores 1 and -0.3 have the mean 0.35.
    completion = make_completion("\na\nb", "def f():")
    run = executed((PASSED, {1, 2}), (FAILED, {1, 2, 3}))
    deviations = [credit.deviations_from_mean(run, weight=2.0), credit.deviations_from_mean(None, weight=2.0)]

    found = credit.tests_credit(
        [completion, completion], [run, None], deviations, MaskRule("tests"), 0, torch.zeros(2, 7)
    )

    assert deviations == [pytest.approx([1.3, -1.3]), []]
    # Tokens: line end, "a", line end, "b", EOS, two of padding.
    torch.testing.assert_close(found.shares[0], torch.tensor([1, 1, 0.5, 0.5, 1, 0, 0]))
    torch.testing.assert_close(found.deviations[0], torch.tensor([0, 0, -0.65, -0.65, 0, 0, 0]))
    torch.testing.assert_close(found.shares[1], torch.tensor([1, 1, 1, 1, 1, 0, 0.0]))
    assert not found.deviations[1].any()


def test_deviations_from_the_group_by_hand():
    # Means of the tests: 0.35 and -0.3. Means of the completions: 0.35 and -0.3; of both: 0.025.
    group = [[1.0, -0.3], None, [-0.3, -0.3]]

    first, unscored, last = credit.deviations_from_group(group, weight=1.0, scale=0.5)

    # ((1 - 0.35) - (0.35 - 0.025)) / 0.5 = 0.65
    assert first == pytest.approx([0.65, -0.65])
    assert last == pytest.approx([-0.65, 0.65])
    assert unscored == []


def test_group_with_one_test_has_no_deviation():
    assert credit.deviations_from_group([[1.0], [-0.6], [-0.3]], weight=0.7, scale=0.3) == [[0.0]] * 3
    assert credit.deviations_from_group([None, None], weight=1.0, scale=1.0) == [[], []]


def row(*inputs):
    tests = {"type": "call", "fn_name": "f", "inputs": [[one] for one in inputs], "outputs": list(inputs)}
    return PromptRow("task", "prompt", tests=tests)


def test_mean_replaces_the_score_of_the_worst_test():
    funcs = [rltf_reward, unit_test_reward]

    assert credit.choose_test_score(funcs, [row(1, 2)], "worst", "lines", None) == funcs
    assert credit.choose_test_score(funcs, [row(1, 2)], "mean", "tests", None) == [rltf_reward, mean_test_reward]
    assert credit.choose_test_score(funcs, [row(1)], "worst", "tests", None) == funcs
    assert credit.feedback_weight([rltf_reward, mean_test_reward], [2.0, 0.5, 3.0]) == 0.5


@pytest.mark.parametrize(
    ("funcs", "score_tests", "fgo", "message"),
    [
        ([rltf_reward], "mean", "lines", "`score_tests` is 'mean', but compiler feedback"),
        ([rltf_reward], "worst", "tests", "`fgo` is 'tests', but compiler feedback"),
        ([unit_test_reward], "worst", "tests_random", "Set `score_tests` to 'mean'"),
    ],
)
def test_options_that_do_not_fit_are_refused(funcs, score_tests, fgo, message):
    with pytest.raises(BadInputError, match=message):
        credit.choose_test_score(funcs, [row(1), row(1, 2)], score_tests, fgo, None)


def test_mean_needs_an_executor_that_runs_all_tests():
    choose = functools.partial(credit.choose_test_score, [unit_test_reward], [row(1, 2)])
    with CodeExecutor(ExecutorConfig(num_workers=1, stop_on_first_failure=True)) as stopping:
        assert choose("worst", "lines", stopping) == [unit_test_reward]
        with pytest.raises(BadInputError, match="stops at the first failure"):
            choose("mean", "lines", stopping)
