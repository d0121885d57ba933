"""
Prefix imitation: minus the log-probability of the code that the curriculum shows.

    loss = beta (1 / N) sum_i (1 / n_i) sum_t -log p(y_it | y_i,<t)

`N` counts the completions of an optimizer step, over all its micro-batches and processes. `t` runs over the `n_i`
prefix tokens of query `i`, see [`prefix_lengths`]. A completion from scratch has none, adds 0 and counts in `N`. The
temperature is 1, whatever the completions are sampled at. The loss needs no score and no advantage. Not in the paper.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from stepcoder_trl.steps.prefixes import prefix_lengths
from stepcoder_trl.steps.starts import Start
from stepcoder_trl.trainer.ppo_math import token_log_probs
from stepcoder_trl.trainer.records import Experience


def prefix_mask(lengths: torch.Tensor, size: int) -> torch.Tensor:
    """
    Mark the last `lengths[i]` of the last `size` tokens of each query.

    Args:
        lengths (`torch.Tensor` of shape `(B,)`): Number of prefix tokens.
        size (`int`): Number of columns `P`, at least the largest length.

    Returns:
        `torch.Tensor`: Shape `(B, P)`, boolean.
    """
    return torch.arange(size, device=lengths.device)[None] >= size - lengths[:, None]


def mean_log_probs(log_probs: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
    """
    Return the mean log-probability of the prefix tokens of each query.

    Args:
        log_probs (`torch.Tensor` of shape `(B, P)`): Log-probabilities of the last `P` tokens of each query.
        lengths (`torch.Tensor` of shape `(B,)`): Number of prefix tokens, at most `P`.

    Returns:
        `torch.Tensor`: Shape `(B,)`, 0 without prefix tokens.
    """
    marked = prefix_mask(lengths, log_probs.shape[1])
    return log_probs.masked_fill(~marked, 0.0).sum(1) / lengths.clamp(min=1)


def with_prefixes(experience: Experience, starts: Sequence[Start], tokenizer: Any, weight: float) -> Experience:
    """Return the experience with the number of prefix tokens of each query, or as it is if the weight is 0."""
    if not weight:
        return experience
    lengths = torch.tensor(prefix_lengths(starts, tokenizer), device=experience.lengths.device)
    return replace(experience, prefix_lengths=lengths)


@dataclass(frozen=True)
class SplitOutputs:
    """
    Outputs of policy and critic for a micro-batch.

    Attributes:
        logits (`torch.Tensor` of shape `(B, T, V)`): Logits that predict the tokens of the responses.
        values (`torch.Tensor` of shape `(B, T)`): Values before these tokens.
        prefix_means (`torch.Tensor` of shape `(B,)`): Mean log-probability of each prefix, 0 without prefix tokens.
    """

    logits: torch.Tensor
    values: torch.Tensor
    prefix_means: torch.Tensor


def run_with_prefixes(model: Any, ids: torch.Tensor, mask: torch.Tensor, batch: Experience) -> SplitOutputs:
    """
    Run policy and critic once, for the responses and the prefixes before them.

    Args:
        model (`Callable`): Module that returns logits and values of the last tokens, see [`PolicyAndCritic`].
        ids (`torch.Tensor` of shape `(B, Q + T)`): Queries with responses.
        mask (`torch.Tensor` of shape `(B, Q + T)`): Attention mask.
        batch ([`Experience`]): Micro-batch.
    """
    length, lengths = batch.response_ids.shape[1], batch.prefix_lengths
    size = 0 if lengths is None else int(lengths.max())
    logits, values = model(ids, mask, length + size)
    if lengths is None or not size:
        return SplitOutputs(logits, values, torch.zeros(len(logits), device=logits.device))
    log_probs = token_log_probs(logits[:, :size], batch.query_ids[:, -size:])
    return SplitOutputs(logits[:, size:], values[:, size:], mean_log_probs(log_probs, lengths))
