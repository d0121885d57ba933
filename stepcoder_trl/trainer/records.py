"""Records that the steps of an update hand to each other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch

from stepcoder_trl.evaluation.generation import Generation
from stepcoder_trl.steps.programs import Feedback
from stepcoder_trl.steps.starts import Completion, Start
from stepcoder_trl.trainer.batches import join_sequences


@dataclass(frozen=True)
class Rollout:
    """
    Completions of one update, on one process.

    Attributes:
        completions (`tuple[Completion, ...]`): `B` completions: start, text and program of each.
        generation (`Generation`): Their tokens as tensors.
    """

    completions: tuple[Completion, ...]
    generation: Generation

    @property
    def starts(self) -> tuple[Start, ...]:
        """Start of each completion."""
        return tuple(completion.start for completion in self.completions)


@dataclass(frozen=True)
class TokenScores:
    """
    What the models say about the sampled tokens.

    Attributes:
        log_probs (`torch.Tensor` of shape `(B, T)`): Under the policy that sampled, at its temperature.
        ref_log_probs (`torch.Tensor` of shape `(B, T)`): Under the reference, at the same temperature.
        values (`torch.Tensor` of shape `(B, T)`): Of the critic, before each token.
    """

    log_probs: torch.Tensor
    ref_log_probs: torch.Tensor
    values: torch.Tensor


@dataclass(frozen=True)
class Scores:
    """
    Score of each completion.

    Attributes:
        scores (`torch.Tensor` of shape `(B,)`): Weighted sum, penalty and clip applied; 0 where there is none.
        scored (`torch.Tensor` of shape `(B,)`): Whether there is one.
        by_source (`Mapping[str, tuple[float | None, ...]]`): Before weights, by name of the reward function.
    """

    scores: torch.Tensor
    scored: torch.Tensor
    by_source: Mapping[str, tuple[float | None, ...]]

    def tolist(self) -> list[float | None]:
        """Scores as a list, `None` where there is none."""
        rows = zip(self.scores.tolist(), self.scored.tolist(), strict=True)
        return [score if scored else None for score, scored in rows]


@dataclass(frozen=True)
class Rewards:
    """
    Reward of each token.

    Attributes:
        kl (`torch.Tensor` of shape `(B, T)`): KL estimates, 0 beyond the valid tokens.
        rewards (`torch.Tensor` of shape `(B, T)`): KL penalty, and at the last valid token the score.
    """

    kl: torch.Tensor
    rewards: torch.Tensor


@dataclass(frozen=True)
class Experience:
    """
    Everything an update trains on.

    Attributes:
        query_ids (`torch.Tensor` of shape `(B, Q)`): Queries, padded on the left.
        query_mask (`torch.Tensor` of shape `(B, Q)`): `True` where a query token stands.
        response_ids (`torch.Tensor` of shape `(B, T)`): Sampled tokens, padded on the right.
        lengths (`torch.Tensor` of shape `(B,)`): Sampled tokens per row.
        valid_mask (`torch.Tensor` of shape `(B, T)`): Tokens of scored completions: value loss.
        loss_mask (`torch.Tensor` of shape `(B, T)`): The kept ones among them: policy loss.
        log_probs (`torch.Tensor` of shape `(B, T)`): Under the policy that sampled.
        values (`torch.Tensor` of shape `(B, T)`): Of the critic at that time.
        advantages (`torch.Tensor` of shape `(B, T)`): Advantages.
        returns (`torch.Tensor` of shape `(B, T)`): Targets of the critic.
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

    def select(self, indices: torch.Tensor) -> Experience:
        """Rows at `indices`, without the columns that are padding in all of them."""
        length = int(self.lengths[indices].max())
        query_length = int(self.query_mask[indices].sum(1).max())
        parts: dict[str, torch.Tensor] = {"lengths": self.lengths[indices]}
        for name in ("query_ids", "query_mask"):
            parts[name] = getattr(self, name)[indices, -query_length:]
        for name in ("response_ids", "valid_mask", "loss_mask", "log_probs", "values", "advantages", "returns"):
            parts[name] = getattr(self, name)[indices, :length]
        return Experience(**parts)

    def sequences(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Queries with their responses, and their attention mask, both of shape `(B, Q + T)`."""
        return join_sequences(self.query_ids, self.query_mask, self.response_ids, self.lengths)


@dataclass(frozen=True)
class Update:
    """
    Everything about one update, for `on_update`. Tensors and lists are those of this process.

    Attributes:
        step (`int`): Number of the update, counted from 0.
        rollout (`Rollout`): Completions, with their starts.
        tokens (`TokenScores`): Log-probabilities and values.
        feedback (`Feedback`): Executions.
        scores (`Scores`): Scores.
        rewards (`Rewards`): Rewards of the tokens.
        loss_mask (`torch.Tensor` of shape `(B, T)`): Tokens in the policy loss.
        experience (`Experience`): Tensors that were trained on.
        metrics (`dict[str, float]`): Metrics of all processes. What is added here is logged too.
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
