"""FGO per test: the part of each test in the advantage of each token, and checks of its options."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

import torch

from stepcoder_trl.errors import BadInputError
from stepcoder_trl.executor.backend import Backend, BaseBackend
from stepcoder_trl.executor.verdict.schema import count_tests
from stepcoder_trl.masking import Fgo, MaskRule, credit_of_tests, masks_of_tests
from stepcoder_trl.rewards import ScoreTests, mean_test_reward, scores_of_tests, unit_test_reward
from stepcoder_trl.steps.reward_functions import RewardFunc
from stepcoder_trl.steps.rows import PromptRow
from stepcoder_trl.steps.starts import Completion
from stepcoder_trl.types import Execution


@dataclass(frozen=True)
class Credit:
    """
    Part of the tests in the advantages of a batch.

    Attributes:
        shares (`torch.Tensor` of shape `(B, T)`): Share `kappa` of the tests that ran each token, 0 at padding.
        deviations (`torch.Tensor` of shape `(B, T)`):
            Mean over all tests of the deviations of those that ran the token, see [`~masking.credit_of_tests`].
    """

    shares: torch.Tensor
    deviations: torch.Tensor


def tests_credit(
    completions: Sequence[Completion],
    executions: Sequence[Execution | None],
    deviations: Sequence[Sequence[float]],
    rule: MaskRule,
    step: int,
    like: torch.Tensor,
) -> Credit:
    """
    Compute the credit of each token. Without an execution every token has the share 1 and the deviation 0.

    Args:
        completions, executions (`Sequence`): The batch. Length `B`.
        deviations (`Sequence[Sequence[float]]`): Deviation of each test's reward, for each completion.
        rule ([`MaskRule`]): Rule.
        step (`int`): Number of the update, on which random credit depends.
        like (`torch.Tensor` of shape `(B, T)`): Tensor on the wanted device.
    """
    shares, credits = (torch.zeros(like.shape, device=like.device) for _ in range(2))
    rows = zip(completions, executions, deviations, strict=True)
    for number, (completion, execution, values) in enumerate(rows):
        size = len(completion.spans)
        if execution is None:
            shares[number, :size] = 1.0
            continue
        masks = masks_of_tests(
            completion.spans,
            completion.text,
            completion.program,
            execution,
            rule,
            task_id=completion.start.row.task_id,
            step=step,
            sample=completion.start.number,
        )
        kappa, deviation = credit_of_tests(masks, values)
        shares[number, :size] = torch.tensor(kappa)
        credits[number, :size] = torch.tensor(deviation)
    return Credit(shares, credits)


def deviations_from_mean(execution: Execution | None, weight: float) -> list[float]:
    """Return the weighted deviation of the score of each test from their mean. Empty without an execution."""
    if execution is None:
        return []
    scores = scores_of_tests(execution)
    mean = fmean(scores)
    return [weight * (score - mean) for score in scores]


def deviations_from_group(group: Sequence[Sequence[float] | None], weight: float, scale: float) -> list[list[float]]:
    """
    Return for each completion of a group the deviation of each test's advantage from the mean over the tests.

    `x_ij = weight ((r_ij - m_j) - (R_i - M)) / scale`, with the means `m_j` of the test, `R_i` of the completion and
    `M` of both.

    Args:
        group (`Sequence`): Scores of the tests of each completion, `None` for one that does not count.
        weight (`float`): Weight of the compiler feedback among the rewards.
        scale (`float`): What the advantages of the group were divided by.
    """
    counted = [scores for scores in group if scores is not None]
    if not counted:
        return [[] for _ in group]
    of_tests = [fmean(column) for column in zip(*counted, strict=True)]
    overall = fmean(map(fmean, counted))
    found: list[list[float]] = []
    for scores in group:
        mean = 0.0 if scores is None else fmean(scores)
        pairs = zip(scores or (), of_tests if scores else (), strict=True)
        found.append([weight * ((score - average) - (mean - overall)) / scale for score, average in pairs])
    return found


# Options


def feedback_weight(reward_funcs: Sequence[Any], weights: Sequence[float]) -> float:
    """Return the weight of the compiler feedback among the rewards. `weights` may be longer."""
    pairs = zip(reward_funcs, weights, strict=False)
    return math.fsum(weight for func, weight in pairs if func in (unit_test_reward, mean_test_reward))


def choose_test_score(
    reward_funcs: Sequence[RewardFunc],
    rows: Sequence[PromptRow],
    score_tests: ScoreTests,
    fgo: Fgo,
    executor: Backend | None,
) -> list[RewardFunc]:
    """
    Return the reward functions, with compiler feedback by the mean over the tests if `score_tests` is `"mean"`.

    Raises:
        BadInputError: If the options do not fit together, or to rewards, rows or executor.
    """
    per_test = MaskRule(fgo).is_per_test
    if (per_test or score_tests == "mean") and unit_test_reward not in reward_funcs:
        name, value = ("fgo", fgo) if per_test else ("score_tests", score_tests)
        raise BadInputError(
            f"`{name}` is {value!r}, but compiler feedback, `unit_test_reward`, is not among the reward functions. "
            f"Add it, or leave `{name}` out."
        )
    if score_tests == "mean" and isinstance(executor, BaseBackend) and executor.stops_on_first_failure:
        raise BadInputError(
            "`score_tests` is 'mean', which needs the outcome of every test, but the executor stops at the first "
            "failure. Leave `stop_on_first_failure` out."
        )
    if per_test and score_tests == "worst" and any(row.tests and count_tests(row.tests) > 1 for row in rows):
        raise BadInputError(
            f"`fgo` is {fgo!r}, which gives each test its own part of the score, but `score_tests` is 'worst', by "
            "which one test decides alone. Set `score_tests` to 'mean'."
        )
    if score_tests == "worst":
        return list(reward_funcs)
    return [mean_test_reward if func is unit_test_reward else func for func in reward_funcs]
