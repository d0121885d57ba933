"""Records that one step of an update passes to the next."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch

from stepcoder_trl.evaluation.generation import Generation
from stepcoder_trl.steps.programs import Feedback
from stepcoder_trl.steps.starts import Completion, Start


@dataclass(frozen=True)
class Rollout:
    """
    Completions of one update, on one process.

    Attributes:
        completions (`tuple[Completion, ...]`): `B` completions with their starts, texts and programs.
        generation (`Generation`): Tokens of the completions as tensors.
    """

    completions: tuple[Completion, ...]
    generation: Generation

    @property
    def starts(self) -> tuple[Start, ...]:
        """Return the start of each completion."""
        return tuple(completion.start for completion in self.completions)


@dataclass(frozen=True)
class TokenScores:
    """
    Log-probabilities and values of the sampled tokens.

    Attributes:
        log_probs (`torch.Tensor` of shape `(B, T)`): Log-probabilities under the policy, at the sampling temperature.
        ref_log_probs (`torch.Tensor` of shape `(B, T)`): The same under the reference.
        values (`torch.Tensor` of shape `(B, T)`): Values of the critic before each token.
    """

    log_probs: torch.Tensor
    ref_log_probs: torch.Tensor
    values: torch.Tensor


@dataclass(frozen=True)
class Scores:
    """
    Score of each completion.

    Attributes:
        scores (`torch.Tensor` of shape `(B,)`): Weighted sum after penalty and clip. 0 without a score.
        scored (`torch.Tensor` of shape `(B,)`): Whether the completion has a score.
        by_source (`Mapping[str, tuple[float | None, ...]]`): Scores of each reward function, before weights.
    """

    scores: torch.Tensor
    scored: torch.Tensor
    by_source: Mapping[str, tuple[float | None, ...]]

    def tolist(self) -> list[float | None]:
        """Return the scores as a list, with `None` for a completion without a score."""
        rows = zip(self.scores.tolist(), self.scored.tolist(), strict=True)
        return [score if scored else None for score, scored in rows]


@dataclass(frozen=True)
class Rewards:
    """
    Reward of each token.

    Attributes:
        kl (`torch.Tensor` of shape `(B, T)`): KL estimates, 0 beyond the valid tokens.
        rewards (`torch.Tensor` of shape `(B, T)`): KL penalty, plus the score at the last valid token.
    """

    kl: torch.Tensor
    rewards: torch.Tensor


@dataclass(frozen=True)
class Experience:
    """
    Tensors that an update trains on.

    Attributes:
        query_ids (`torch.Tensor` of shape `(B, Q)`): Queries, padded on the left.
        query_mask (`torch.Tensor` of shape `(B, Q)`): `True` at query tokens, `False` at padding.
        response_ids (`torch.Tensor` of shape `(B, T)`): Sampled tokens, padded on the right.
        lengths (`torch.Tensor` of shape `(B,)`): Number of sampled tokens.
        valid_mask (`torch.Tensor` of shape `(B, T)`): `True` at tokens of scored completions. Used by the value loss.
        loss_mask (`torch.Tensor` of shape `(B, T)`): `True` at kept tokens. Used by the policy loss.
        log_probs (`torch.Tensor` of shape `(B, T)`): Log-probabilities under the policy that sampled.
        values (`torch.Tensor` of shape `(B, T)`): Values of the critic at the time of the rollout.
        advantages (`torch.Tensor` of shape `(B, T)`): Advantages.
        returns (`torch.Tensor` of shape `(B, T)`): Targets of the critic.
        prefix_lengths (`torch.Tensor` of shape `(B,)` or `None`): Number of prefix tokens, the last ones of each
            query. `None` without prefix imitation.
    """

    query_ids: torch.Tensor
    query_mask: torch.Tensor
    response_ids: torch.Tensor
    lengths: torch.Tensor
    valid_mask: torch.Tensor
    loss_mask: torch.Tensor
    log_probs: torch.Tensor
    values: torch.Tensor
    advantages: torch.Tensor
    returns: torch.Tensor
    prefix_lengths: torch.Tensor | None = None

    def select(self, indices: torch.Tensor) -> Experience:
        """Return the rows at `indices`, without columns that are only padding."""
        length = int(self.lengths[indices].max())
        query_length = int(self.query_mask[indices].sum(1).max())
        parts: dict[str, torch.Tensor] = {"lengths": self.lengths[indices]}
        for name in ("query_ids", "query_mask"):
            parts[name] = getattr(self, name)[indices, -query_length:]
        for name in ("response_ids", "valid_mask", "loss_mask", "log_probs", "values", "advantages", "returns"):
            parts[name] = getattr(self, name)[indices, :length]
        if self.prefix_lengths is not None:
            parts["prefix_lengths"] = self.prefix_lengths[indices]
        return Experience(**parts)


@dataclass(frozen=True)
class Update:
    """
    Everything about one update of this process, for `on_update`.

    Attributes:
        step (`int`): Number of the update, counted from 0.
        rollout (`Rollout`): Completions, with their starts.
        tokens (`TokenScores`): Log-probabilities and values.
        feedback (`Feedback`): Executions.
        scores (`Scores`): Scores.
        rewards (`Rewards`): Rewards of the tokens.
        loss_mask (`torch.Tensor` of shape `(B, T)`): `True` at kept tokens.
        experience (`Experience`): Tensors that the update trained on.
        metrics (`dict[str, float]`): Metrics over all processes. Entries that are added here are logged too.
    """

    step: int
    rollout: Rollout
    tokens: TokenScores
    feedback: Feedback
    scores: Scores
    rewards: Rewards
    loss_mask: torch.Tensor
    experience: Experience
    metrics: dict[str, float]
