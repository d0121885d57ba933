"""
PPO's arithmetic: one formula, one pure function.

Shapes: `B` sequences, `T` response tokens, `V` vocabulary. Masks are `True` where a token counts. Every masked mean of
an empty mask is 0.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch


ReduceSum = Callable[[torch.Tensor], torch.Tensor]  # adds up a tensor over all processes


def _alone(tensor: torch.Tensor) -> torch.Tensor:
    """Sum over one process."""
    return tensor


class _TokenLogProbs(torch.autograd.Function):
    """
    Log-probabilities whose gradient is made from the scores themselves.

    Autograd would keep a float32 copy of the scores for its backward pass and add up several of their gradients; this
    keeps one number per token, and works row by row in both directions.
    """

    @staticmethod
    def forward(ctx: Any, logits: torch.Tensor, token_ids: torch.Tensor, temperature: float) -> torch.Tensor:
        chosen = torch.empty(token_ids.shape, device=logits.device)
        log_sums = torch.empty_like(chosen)
        for number, (row, ids) in enumerate(zip(logits, token_ids, strict=True)):
            scaled = row.float() / temperature
            log_sums[number] = scaled.logsumexp(-1)
            chosen[number] = scaled.gather(-1, ids.unsqueeze(-1)).squeeze(-1)
        ctx.save_for_backward(logits, token_ids, log_sums)
        ctx.temperature = temperature
        return chosen - log_sums

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        # d log p(k) / d z(j) = (1[j = k] - p(j)) / temperature
        logits, token_ids, log_sums = ctx.saved_tensors
        grad = torch.empty_like(logits)
        rows = zip(logits, token_ids, log_sums, grads[0] / ctx.temperature, strict=True)
        for number, (row, ids, log_sum, scale) in enumerate(rows):
            probabilities = (row.float() / ctx.temperature).sub_(log_sum.unsqueeze(-1)).exp_()
            row_grad = probabilities.mul_(-scale.unsqueeze(-1))
            grad[number] = row_grad.scatter_add_(-1, ids.unsqueeze(-1), scale.unsqueeze(-1))
        return grad, None, None


def token_log_probs(logits: torch.Tensor, token_ids: torch.Tensor, temperature: float = 1.0) -> torch.Tensor:
    """
    Log-probability of each token, in float32.

    Works through the batch row by row: beyond `logits` and their gradient no more than one `(T, V)` float32 copy is
    alive at a time.

    Args:
        logits (`torch.Tensor` of shape `(B, T, V)`):
            Scores that predict each token, before the temperature.
        token_ids (`torch.Tensor` of shape `(B, T)`):
            Sampled tokens.
        temperature (`float`, *optional*, defaults to `1.0`):
            Sampling temperature, above 0.

    Returns:
        `torch.Tensor`: Shape `(B, T)`.
    """
    log_probs: torch.Tensor = _TokenLogProbs.apply(logits, token_ids, temperature)
    return log_probs


@torch.no_grad()
def token_entropy(logits: torch.Tensor, temperature: float = 1.0) -> torch.Tensor:
    """
    Entropy of the distribution that each token was drawn from, in nats, without gradient.

    Args:
        logits (`torch.Tensor` of shape `(B, T, V)`):
            Scores, before the temperature.
        temperature (`float`, *optional*, defaults to `1.0`):
            Sampling temperature, above 0.

    Returns:
        `torch.Tensor`: Shape `(B, T)`.
    """
    rows = []
    for row in logits:
        log_probs = (row.float() / temperature).log_softmax(-1)
        rows.append(-(log_probs.exp() * log_probs).sum(-1))
    return torch.stack(rows)


def length_mask(lengths: torch.Tensor, size: int) -> torch.Tensor:
    """
    Mark the first `lengths[i]` positions of each row.

    Args:
        lengths (`torch.Tensor` of shape `(B,)`):
            Number of valid tokens. Lengths decide, never token ids: a padding token may be the EOS token.
        size (`int`):
            Number of columns `T`.

    Returns:
        `torch.Tensor`: Shape `(B, T)`, boolean.
    """
    return torch.arange(size, device=lengths.device)[None] < lengths[:, None]


def kl_divergence(log_probs: torch.Tensor, ref_log_probs: torch.Tensor, estimator: str = "k1") -> torch.Tensor:
    """
    Estimate the KL divergence from the reference, per token.

    Args:
        log_probs (`torch.Tensor` of shape `(B, T)`):
            Log-probabilities under the policy that sampled.
        ref_log_probs (`torch.Tensor` of shape `(B, T)`):
            Log-probabilities under the reference.
        estimator (`str`, *optional*, defaults to `"k1"`):
            `"k1"` is the log-ratio; `"k3"` is never negative and varies less. See
            http://joschu.net/blog/kl-approx.html.

    Returns:
        `torch.Tensor`: Shape `(B, T)`.
    """
    log_ratio = ref_log_probs - log_probs
    return -log_ratio if estimator == "k1" else log_ratio.exp() - 1 - log_ratio


def token_rewards(kl: torch.Tensor, scores: torch.Tensor, lengths: torch.Tensor, kl_coef: float) -> torch.Tensor:
    """
    Reward of each token: the KL penalty everywhere, the score at the last valid token.

    Args:
        kl (`torch.Tensor` of shape `(B, T)`):
            KL estimates.
        scores (`torch.Tensor` of shape `(B,)`):
            Score of each completion.
        lengths (`torch.Tensor` of shape `(B,)`):
            Number of valid tokens, at least 1.
        kl_coef (`float`):
            Weight of the penalty.

    Returns:
        `torch.Tensor`: Shape `(B, T)`, 0 beyond the valid tokens.

    Paper: StepCoder (arXiv:2402.01391), section 3.2: the reward is given to the sequence, the penalty to each token.
    """
    rewards = -kl_coef * kl.masked_fill(~length_mask(lengths, kl.shape[1]), 0.0)
    rewards[torch.arange(len(rewards), device=rewards.device), lengths - 1] += scores
    return rewards


def generalized_advantages(
    rewards: torch.Tensor, values: torch.Tensor, valid_mask: torch.Tensor, gamma: float, lam: float
) -> torch.Tensor:
    """
    Generalized advantage estimation over the valid tokens.

    An episode ends with its last valid token: the value after it is 0.

    Args:
        rewards (`torch.Tensor` of shape `(B, T)`):
            Reward of each token.
        values (`torch.Tensor` of shape `(B, T)`):
            Value before each token.
        valid_mask (`torch.Tensor` of shape `(B, T)`):
            Valid tokens, a prefix of each row.
        gamma (`float`):
            Discount factor.
        lam (`float`):
            Weight of longer returns, 1 for plain returns, 0 for one step.

    Returns:
        `torch.Tensor`: Shape `(B, T)`, 0 beyond the valid tokens. Returns are these plus `values`.

    Paper: Schulman et al. (arXiv:1506.02438), Eq. 16.
    """
    values = values.masked_fill(~valid_mask, 0.0)
    advantages = torch.zeros_like(rewards)
    following = torch.zeros_like(rewards[:, 0])
    next_value = torch.zeros_like(rewards[:, 0])
    for t in reversed(range(rewards.shape[1])):
        delta = rewards[:, t] + gamma * next_value - values[:, t]
        following = (delta + gamma * lam * following).masked_fill(~valid_mask[:, t], 0.0)
        next_value = values[:, t]
        advantages[:, t] = following
    return advantages


def masked_sum(values: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Sum of the values where `mask` is `True`; whatever stands elsewhere, NaN too, counts nothing. Scalar."""
    return values.masked_fill(~mask, 0.0).sum()


def masked_mean(values: torch.Tensor, mask: torch.Tensor, reduce: ReduceSum = _alone) -> torch.Tensor:
    """
    Mean over the marked elements of all processes.

    Args:
        values (`torch.Tensor`):
            Any shape.
        mask (`torch.Tensor`):
            Same shape, boolean.
        reduce (`Callable`, *optional*):
            Sum of a tensor over all processes.

    Returns:
        `torch.Tensor`: Scalar, 0 for an empty mask.
    """
    total, count = reduce(torch.stack([masked_sum(values, mask), mask.sum().to(values.dtype)]))
    return total / count.clamp(min=1)


def masked_whiten(
    values: torch.Tensor, mask: torch.Tensor, reduce: ReduceSum = _alone, shift_mean: bool = True
) -> torch.Tensor:
    """
    Shift and scale so that the marked elements of all processes have mean 0 and unbiased variance 1.

    Args:
        values (`torch.Tensor`):
            Any shape.
        mask (`torch.Tensor`):
            Same shape, boolean. Mean and variance come from these elements; all elements are shifted and scaled.
        reduce (`Callable`, *optional*):
            Sum of a tensor over all processes.
        shift_mean (`bool`, *optional*, defaults to `True`):
            Whether the mean goes; otherwise it stays where it was.

    Returns:
        `torch.Tensor`: Same shape. With fewer than two marked elements, `values` unchanged.
    """
    mean = masked_mean(values, mask, reduce)
    squares, count = reduce(torch.stack([masked_sum((values - mean) ** 2, mask), mask.sum().to(values.dtype)]))
    if count < 2:
        return values
    whitened = (values - mean) * torch.rsqrt(squares / (count - 1) + 1e-8)
    return whitened if shift_mean else whitened + mean


@dataclass(frozen=True)
class PolicyTerms:
    """
    Policy loss per token and what is logged of it.

    Attributes:
        loss (`torch.Tensor` of shape `(B, T)`): Clipped surrogate loss.
        ratio (`torch.Tensor` of shape `(B, T)`): Probability ratio of new to old policy.
        approx_kl (`torch.Tensor` of shape `(B, T)`): Half the squared log-ratio.
        clipped (`torch.Tensor` of shape `(B, T)`): Where the clipped term decided, boolean.
    """

    loss: torch.Tensor
    ratio: torch.Tensor
    approx_kl: torch.Tensor
    clipped: torch.Tensor


def policy_loss_terms(
    log_probs: torch.Tensor, old_log_probs: torch.Tensor, advantages: torch.Tensor, cliprange: float
) -> PolicyTerms:
    """
    Clipped surrogate loss of each token.

    Args:
        log_probs (`torch.Tensor` of shape `(B, T)`):
            Log-probabilities under the policy in training.
        old_log_probs (`torch.Tensor` of shape `(B, T)`):
            Log-probabilities under the policy that sampled.
        advantages (`torch.Tensor` of shape `(B, T)`):
            Advantages.
        cliprange (`float`):
            Largest distance of the ratio from 1.

    Returns:
        [`PolicyTerms`]

    Paper: Schulman et al. (arXiv:1707.06347), Eq. 7.
    """
    log_ratio = log_probs - old_log_probs
    ratio = log_ratio.exp()
    plain = -advantages * ratio
    clipped = -advantages * ratio.clamp(1 - cliprange, 1 + cliprange)
    return PolicyTerms(torch.maximum(plain, clipped), ratio, 0.5 * log_ratio**2, clipped > plain)


@dataclass(frozen=True)
class ValueTerms:
    """
    Value loss per token and what is logged of it.

    Attributes:
        loss (`torch.Tensor` of shape `(B, T)`): Half the squared error, the larger of plain and clipped.
        clipped (`torch.Tensor` of shape `(B, T)`): Where the clipped term decided, boolean.
    """

    loss: torch.Tensor
    clipped: torch.Tensor


def value_loss_terms(
    values: torch.Tensor, old_values: torch.Tensor, returns: torch.Tensor, cliprange_value: float
) -> ValueTerms:
    """
    Clipped value loss of each token.

    Args:
        values (`torch.Tensor` of shape `(B, T)`):
            Values of the critic in training.
        old_values (`torch.Tensor` of shape `(B, T)`):
            Values at the time of the rollout.
        returns (`torch.Tensor` of shape `(B, T)`):
            Targets: advantages plus old values.
        cliprange_value (`float`):
            Largest distance from the old value.

    Returns:
        [`ValueTerms`]
    """
    # Limits, not a limited difference: within them the value stays what it is to the last bit, and is not "clipped".
    near = values.clamp(old_values - cliprange_value, old_values + cliprange_value)
    plain, clipped = (values - returns) ** 2, (near - returns) ** 2
    return ValueTerms(0.5 * torch.maximum(plain, clipped), clipped > plain)


def explained_variance(
    values: torch.Tensor, returns: torch.Tensor, mask: torch.Tensor, reduce: ReduceSum = _alone
) -> torch.Tensor:
    """
    Share of the returns' variance that the values explain: 1 is perfect, 0 no better than their mean.

    Args:
        values (`torch.Tensor` of shape `(B, T)`):
            Predicted values.
        returns (`torch.Tensor` of shape `(B, T)`):
            Returns.
        mask (`torch.Tensor` of shape `(B, T)`):
            Tokens that count.
        reduce (`Callable`, *optional*):
            Sum of a tensor over all processes.

    Returns:
        `torch.Tensor`: Scalar, 0 where the returns do not vary.
    """
    error = returns - values
    spread = masked_mean((returns - masked_mean(returns, mask, reduce)) ** 2, mask, reduce)
    left = masked_mean((error - masked_mean(error, mask, reduce)) ** 2, mask, reduce)
    return torch.where(spread > 0, 1 - left / spread.clamp(min=1e-12), torch.zeros_like(spread))
