"""Groups, which are the completions of one prompt in a round: their scores, and what they tell."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch

from stepcoder_trl.metrics import pass_at_k
from stepcoder_trl.trainer.grpo_config import UninformativeGroups


@dataclass(frozen=True)
class Group:
    """
    Results of one group.

    Attributes:
        stage (`int`): Stage of the curriculum, 0 for scratch.
        passed (`tuple[bool, ...]`): Whether each scored completion passed. Empty if nothing says what passing is.
        has_spread (`bool`): Whether two scored completions have different scores.
    """

    stage: int
    passed: tuple[bool, ...]
    has_spread: bool

    @property
    def has_pass(self) -> bool:
        """Whether some completion passed, or it is unknown."""
        return any(self.passed) or not self.passed

    def is_dropped(self, rule: UninformativeGroups) -> bool:
        """Whether the group leaves the loss."""
        return {
            "keep": False,
            "drop_no_spread": not self.has_spread,
            "drop_no_pass": not self.has_pass,
        }[rule]


def total_scores(rewards: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """
    Compute the weighted sum of each completion's rewards, without functions that gave none (NaN).

    Args:
        rewards (`torch.Tensor` of shape `(N, F)`): Reward of each function.
        weights (`torch.Tensor` of shape `(F,)`): Weight of each function.

    Returns:
        `torch.Tensor` of shape `(N,)`: Sums. NaN where no function gave a reward.
    """
    totals = (rewards * weights.to(rewards.device)).nansum(1)
    return totals.masked_fill(rewards.isnan().all(1), math.nan)


def fill_unscored(rewards: torch.Tensor, unscored: torch.Tensor, size: int) -> torch.Tensor:
    """
    Give unscored completions the mean of their group, so that they change no advantage on any release of TRL.

    TRL 1.0 would count them as 0, which is more than the score of a wrong answer.

    Args:
        rewards (`torch.Tensor` of shape `(N, F)`): Reward of each function, NaN for none. `N` is whole groups.
        unscored (`torch.Tensor` of shape `(N,)`): `True` at completions without a score.
        size (`int`): Completions of a group.

    Returns:
        `torch.Tensor` of shape `(N, F)`: Rewards. NaN stays where a function gave none in the whole group.
    """
    means = rewards.view(-1, size, rewards.shape[1]).nanmean(1).repeat_interleave(size, 0)
    return torch.where(unscored[:, None], means, rewards)


def advantage_scales(groups: Sequence[Sequence[float | None]], scale_rewards: str) -> list[float]:
    """
    Return what TRL divides the advantages of each group by, from the scores of its completions.

    It is the standard deviation of the group or of the batch, plus 1e-4, or 1 with `"none"`. `None` counts as the mean
    of its group, as in [`fill_unscored`].
    """
    if scale_rewards == "none":
        return [1.0] * len(groups)
    filled = []
    for group in groups:
        scores = [score for score in group if score is not None]
        mean = math.fsum(scores) / len(scores) if scores else 0.0
        filled.append([mean if score is None else score for score in group])
    rewards = torch.tensor(filled)
    deviations = rewards.std(1) if scale_rewards == "group" else rewards.std().expand(len(groups))
    return (deviations + 1e-4).tolist()


def make_groups(
    results: Sequence[tuple[str, int, bool | None]], scores: Sequence[float], size: int
) -> tuple[Group, ...]:
    """
    Return the groups of a round, from task, stage and pass of the completions of all processes, in order.

    `scores` has NaN for a completion without a score. A group is `size` completions.
    """
    groups = []
    for first in range(0, len(results), size):
        members = slice(first, first + size)
        passed = tuple(one for _, _, one in results[members] if one is not None)
        known = {score for score in scores[members] if not math.isnan(score)}
        groups.append(Group(results[first][1], passed, len(known) > 1))
    return tuple(groups)


def training_metrics(groups: Iterable[Group], stages: Iterable[int]) -> dict[str, list[float]]:
    """Return one value per group for each metric of training. `stages` are those of the training set."""
    groups = tuple(groups)
    judged = [group.passed for group in groups if group.passed]
    return {
        "groups/all_pass": [float(all(passed)) for passed in judged],
        "groups/none_pass": [float(not any(passed)) for passed in judged],
        "groups/no_spread": [float(not group.has_spread) for group in groups],
        **{f"groups/stage_{stage}": [float(group.stage == stage) for group in groups] for stage in stages},
    }


def evaluation_metrics(groups: Iterable[Group], size: int) -> dict[str, list[float]]:
    """Return pass@1 and pass@k of each group of an evaluation, where k is the number of completions per prompt."""
    judged = [group.passed for group in groups if group.passed]
    budgets = sorted({1, size})
    return {
        f"pass@{k}": [pass_at_k(len(passed), sum(passed), k) for passed in judged if len(passed) >= k] for k in budgets
    }
