"""
Arithmetic of PPO: one pure function per formula.

Shapes: `B` completions, `T` response tokens, `V` entries of the vocabulary. A mask is `True` where a token counts. The
mean over an empty mask is 0. `reduce` adds up a tensor over all processes; the default is for one process.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch


ReduceSum = Callable[[torch.Tensor], torch.Tensor]


def _one_process(tensor: torch.Tensor) -> torch.Tensor:
    return tensor


class _TokenLogProbs(torch.autograd.Function):
    """
    Log-probabilities with a gradient of our own.

    Autograd would store a float32 copy of the logits. This stores one number per token, and handles one row at a time.
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
    Compute `log p_t = z_t[a_t] / temperature - log sum_j exp(z_t[j] / temperature)` for each token `a_t`, in float32.

    Besides `logits` and their gradient, at most one float32 copy of shape `(T, V)` is in memory at a time.

    Args:
        logits (`torch.Tensor` of shape `(B, T, V)`): Logits `z_t` that predict each token, before the temperature.
        token_ids (`torch.Tensor` of shape `(B, T)`): Sampled tokens.
        temperature (`float`, *optional*, defaults to `1.0`): Sampling temperature, above 0.

    Returns:
        `torch.Tensor`: Shape `(B, T)`.
    """
    log_probs: torch.Tensor = _TokenLogProbs.apply(logits, token_ids, temperature)
    return log_probs


@torch.no_grad()
def token_entropy(logits: torch.Tensor, temperature: float = 1.0) -> torch.Tensor:
    """
    Compute the entropy `H_t = -sum_j p_t(j) log p_t(j)` of the distribution at each token, in nats, without gradient.

    Args:
        logits (`torch.Tensor` of shape `(B, T, V)`): Logits, before the temperature.
        temperature (`float`, *optional*, defaults to `1.0`): Sampling temperature, above 0.

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
            Number of valid tokens. Token ids cannot tell them: the padding token may be the EOS token.
        size (`int`): Number of columns `T`.

    Returns:
        `torch.Tensor`: Shape `(B, T)`, boolean.
    """
    return torch.arange(size, device=lengths.device)[None] < lengths[:, None]


def kl_divergence(log_probs: torch.Tensor, ref_log_probs: torch.Tensor, estimator: str = "k1") -> torch.Tensor:
    """
    Estimate the KL divergence from the reference at each token, from the log-ratio `d_t = log p_ref,t - log p_t`.

    Args:
        log_probs (`torch.Tensor` of shape `(B, T)`): Log-probabilities under the policy that sampled.
        ref_log_probs (`torch.Tensor` of shape `(B, T)`): Log-probabilities under the reference.
        estimator (`str`, *optional*, defaults to `"k1"`):
            `"k1"` is `-d_t`. `"k3"` is `exp(d_t) - 1 - d_t`: it is never negative and varies less. See
            http://joschu.net/blog/kl-approx.html.

    Returns:
        `torch.Tensor`: Shape `(B, T)`.
    """
    log_ratio = ref_log_probs - log_probs
    return -log_ratio if estimator == "k1" else log_ratio.exp() - 1 - log_ratio


def token_rewards(kl: torch.Tensor, scores: torch.Tensor, lengths: torch.Tensor, kl_coef: float) -> torch.Tensor:
    """
    Compute the reward `r_t = -kl_coef KL_t` of each token, plus the score at the last valid token.

    Args:
        kl (`torch.Tensor` of shape `(B, T)`): KL estimates.
        scores (`torch.Tensor` of shape `(B,)`): Score of each completion.
        lengths (`torch.Tensor` of shape `(B,)`): Number of valid tokens, at least 1.
        kl_coef (`float`): Weight of the KL penalty.

    Returns:
        `torch.Tensor`: Shape `(B, T)`, 0 beyond the valid tokens.

    Paper: StepCoder (arXiv:2402.01391), section 3.2: one reward per completion, one penalty per token.
    """
    rewards = -kl_coef * kl.masked_fill(~length_mask(lengths, kl.shape[1]), 0.0)
    rewards[torch.arange(len(rewards), device=rewards.device), lengths - 1] += scores
    return rewards


def generalized_advantages(
    rewards: torch.Tensor, values: torch.Tensor, valid_mask: torch.Tensor, gamma: float, lam: float
) -> torch.Tensor:
    """
    Compute generalized advantages: `A_t = delta_t + gamma lambda A_{t+1}`, `delta_t = r_t + gamma V_{t+1} - V_t`.

    An episode ends after its last valid token: `V` and `A` are 0 from there on.

    Args:
        rewards (`torch.Tensor` of shape `(B, T)`): Reward `r_t` of each token.
        values (`torch.Tensor` of shape `(B, T)`): Value `V_t` before each token.
        valid_mask (`torch.Tensor` of shape `(B, T)`): Valid tokens: the first ones of each row.
        gamma (`float`): Discount factor.
        lam (`float`): `lambda`: 0 looks one step ahead, 1 takes the whole return.

    Returns:
        `torch.Tensor`: Shape `(B, T)`, 0 beyond the valid tokens. The return is `A_t + V_t`.

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
    """Sum the values where `mask` is `True`. Other values, including NaN, are ignored. Scalar."""
    return values.masked_fill(~mask, 0.0).sum()


def masked_mean(values: torch.Tensor, mask: torch.Tensor, reduce: ReduceSum = _one_process) -> torch.Tensor:
    """Average the values where `mask` is `True`, over all processes. Scalar, 0 for an empty mask."""
    total, count = reduce(torch.stack([masked_sum(values, mask), mask.sum().to(values.dtype)]))
    return total / count.clamp(min=1)


def masked_whiten(
    values: torch.Tensor, mask: torch.Tensor, reduce: ReduceSum = _one_process, shift_mean: bool = True
) -> torch.Tensor:
    """
    Compute `(x - mean) / sqrt(variance + 1e-8)`, with mean and unbiased variance of the marked values.

    Args:
        values (`torch.Tensor`): Values `x`, of any shape. All are shifted and scaled, marked or not.
        mask (`torch.Tensor`): Marked values. Boolean, same shape.
        reduce (`Callable`, *optional*): Sum of a tensor over all processes.
        shift_mean (`bool`, *optional*, defaults to `True`): Whether the new mean is 0. Otherwise the old mean stays.

    Returns:
        `torch.Tensor`: Same shape. `values` unchanged if fewer than two values are marked.
    """
    mean = masked_mean(values, mask, reduce)
    squares, count = reduce(torch.stack([masked_sum((values - mean) ** 2, mask), mask.sum().to(values.dtype)]))
    if count < 2:
        return values
    whitened = (values - mean) * torch.rsqrt(squares / (count - 1) + 1e-8)
    return whitened if shift_mean else whitened + mean


def per_test_advantages(
    advantages: torch.Tensor, shares: torch.Tensor, deviations: torch.Tensor, lengths: torch.Tensor, decay: float
) -> torch.Tensor:
    """
    Compute `kappa_t A_t + decay^(L - 1 - t) d_t`: the advantages of Fine-Grained Optimization per test.

    Generalized advantages are linear in the rewards, and a test's reward differs from the score at the last token
    alone. So its advantage differs by that much, times a power of `decay`, which is `gamma lambda`.

    Args:
        advantages (`torch.Tensor` of shape `(B, T)`): Generalized advantages `A_t` of the score.
        shares (`torch.Tensor` of shape `(B, T)`): Share `kappa_t` of the tests that ran the token.
        deviations (`torch.Tensor` of shape `(B, T)`):
            `d_t = (1 / J) sum_j c_jt (r_j - R)`, over the tests `j` that ran the token, with their rewards `r_j` and
            the score `R`.
        lengths (`torch.Tensor` of shape `(B,)`): Number of valid tokens `L`.
        decay (`float`): `gamma lambda`.

    Returns:
        `torch.Tensor`: Shape `(B, T)`.
    """
    places = torch.arange(advantages.shape[1], device=advantages.device)
    behind = (lengths[:, None] - 1 - places).clamp(min=0)
    return shares * advantages + torch.pow(decay, behind) * deviations


def whiten_tests(
    advantages: torch.Tensor, shares: torch.Tensor, mask: torch.Tensor, reduce: ReduceSum = _one_process
) -> torch.Tensor:
    """
    Compute `(A - kappa c) / sqrt(variance + 1e-8)` with `c = sum A / sum kappa`: every test's advantage moves by `c`.

    Where one test ran every marked token it is [`masked_whiten`].

    Args:
        advantages (`torch.Tensor`): Advantages `A`, of any shape. All are shifted and scaled, marked or not.
        shares (`torch.Tensor`): Share `kappa` of the tests that ran the token. Same shape.
        mask (`torch.Tensor`): Marked tokens, over which sums and unbiased variance are taken. Boolean, same shape.
        reduce (`Callable`, *optional*): Sum of a tensor over all processes.

    Returns:
        `torch.Tensor`: Same shape. `advantages` unchanged if fewer than two tokens are marked.
    """
    total, weight = reduce(torch.stack([masked_sum(advantages, mask), masked_sum(shares, mask)]))
    shifted = advantages - shares * (total / weight.clamp(min=1e-8))
    squares, count = reduce(torch.stack([masked_sum(shifted**2, mask), mask.sum().to(shifted.dtype)]))
    return advantages if count < 2 else shifted * torch.rsqrt(squares / (count - 1) + 1e-8)


@dataclass(frozen=True)
class PolicyTerms:
    """
    Policy loss of each token, with values for the metrics. All of shape `(B, T)`.

    Attributes:
        loss (`torch.Tensor`): Clipped policy loss.
        ratio (`torch.Tensor`): Ratio of the probabilities under new and old policy.
        approx_kl (`torch.Tensor`): Half the squared log-ratio.
        clipped (`torch.Tensor`): `True` where the clipped term is the larger one.
    """

    loss: torch.Tensor
    ratio: torch.Tensor
    approx_kl: torch.Tensor
    clipped: torch.Tensor


def policy_loss_terms(
    log_probs: torch.Tensor, old_log_probs: torch.Tensor, advantages: torch.Tensor, cliprange: float
) -> PolicyTerms:
    """
    Compute the clipped loss `max(-A_t rho_t, -A_t clip(rho_t, 1 - c, 1 + c))` with `rho_t = p_t / p_old,t`.

    Args:
        log_probs (`torch.Tensor` of shape `(B, T)`): Log-probabilities `log p_t` under the current policy.
        old_log_probs (`torch.Tensor` of shape `(B, T)`): Log-probabilities `log p_old,t` at the time of the rollout.
        advantages (`torch.Tensor` of shape `(B, T)`): Advantages `A_t`.
        cliprange (`float`): Clip range `c` of the ratio.

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
    Value loss of each token, with values for the metrics. All of shape `(B, T)`.

    Attributes:
        loss (`torch.Tensor`): Clipped value loss.
        clipped (`torch.Tensor`): `True` where the clipped term is the larger one.
    """

    loss: torch.Tensor
    clipped: torch.Tensor


def value_loss_terms(
    values: torch.Tensor, old_values: torch.Tensor, returns: torch.Tensor, cliprange_value: float
) -> ValueTerms:
    """
    Compute the clipped loss `max((V_t - R_t)^2, (clip(V_t, V_old,t - c, V_old,t + c) - R_t)^2) / 2`.

    Args:
        values (`torch.Tensor` of shape `(B, T)`): Values `V_t` of the current critic.
        old_values (`torch.Tensor` of shape `(B, T)`): Values `V_old,t` at the time of the rollout.
        returns (`torch.Tensor` of shape `(B, T)`): Returns `R_t`: advantages plus old values.
        cliprange_value (`float`): Clip range `c` of the value.

    Returns:
        [`ValueTerms`]
    """
    # The value itself is clamped, not its difference: a value inside the range stays the same to the last bit.
    near = values.clamp(old_values - cliprange_value, old_values + cliprange_value)
    plain, clipped = (values - returns) ** 2, (near - returns) ** 2
    return ValueTerms(0.5 * torch.maximum(plain, clipped), clipped > plain)


def explained_variance(
    values: torch.Tensor, returns: torch.Tensor, mask: torch.Tensor, reduce: ReduceSum = _one_process
) -> torch.Tensor:
    """
    Compute `1 - Var(R - V) / Var(R)` over the marked tokens: 1 is a perfect critic, 0 is no better than the mean.

    Args:
        values (`torch.Tensor` of shape `(B, T)`): Values `V`.
        returns (`torch.Tensor` of shape `(B, T)`): Returns `R`.
        mask (`torch.Tensor` of shape `(B, T)`): Marked tokens.
        reduce (`Callable`, *optional*): Sum of a tensor over all processes.

    Returns:
        `torch.Tensor`: Scalar, 0 if the returns do not vary.
    """
    error = returns - values
    spread = masked_mean((returns - masked_mean(returns, mask, reduce)) ** 2, mask, reduce)
    left = masked_mean((error - masked_mean(error, mask, reduce)) ** 2, mask, reduce)
    return torch.where(spread > 0, 1 - left / spread.clamp(min=1e-12), torch.zeros_like(spread))
