"""Steps of a PPO update as functions: forward passes in micro-batches, scores, rewards of tokens, advantages."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any

import torch

from stepcoder_trl.evaluation.generation import Generation
from stepcoder_trl.steps.padding import pad_masks
from stepcoder_trl.trainer.batches import micro_batches
from stepcoder_trl.trainer.models import head_outputs, response_logits
from stepcoder_trl.trainer.ppo_config import StepCoderPPOConfig
from stepcoder_trl.trainer.ppo_math import (
    generalized_advantages,
    kl_divergence,
    length_mask,
    masked_whiten,
    token_log_probs,
    token_rewards,
)
from stepcoder_trl.trainer.records import Experience, Rewards, Scores, TokenScores


Sum = Callable[[torch.Tensor], torch.Tensor]  # over all processes
Block = Callable[[], AbstractContextManager[Any]]


@torch.no_grad()
def score_tokens(
    generation: Generation, model: Any, reference: Block, autocast: Block, micro_batch_size: int, temperature: float
) -> TokenScores:
    """
    Log-probabilities under policy and reference, and values.

    Args:
        generation ([`Generation`]):
            `B` completions.
        model (`torch.nn.Module`):
            Policy and critic, as the accelerator prepared them.
        reference (`Callable`):
            Returns a context manager that yields the reference model.
        autocast (`Callable`):
            Returns a context manager of mixed precision.
        micro_batch_size (`int`):
            Completions per forward pass.
        temperature (`float`):
            Sampling temperature.

    Returns:
        [`TokenScores`]: Tensors of shape `(B, T)`, 0 beyond the valid tokens.
    """
    shape, device = generation.response_ids.shape, generation.response_ids.device
    scores = TokenScores(*(torch.zeros(shape, device=device) for _ in range(3)))
    for batch in micro_batches(generation, micro_batch_size):
        ids, mask = batch.sequences()
        length = batch.response_ids.shape[1]
        logits, values = model(ids, mask, length)
        log_probs = token_log_probs(logits, batch.response_ids, temperature)
        del logits
        with reference() as reference_model, autocast():
            ref_logits = response_logits(reference_model, ids, mask, length)
        ref_log_probs = token_log_probs(ref_logits, batch.response_ids, temperature)
        del ref_logits
        valid = length_mask(batch.lengths, length)
        scores.log_probs[batch.rows, :length] = log_probs.masked_fill(~valid, 0.0)
        scores.ref_log_probs[batch.rows, :length] = ref_log_probs.masked_fill(~valid, 0.0)
        scores.values[batch.rows, :length] = values.masked_fill(~valid, 0.0)
    return scores


@torch.no_grad()
def score_sequences(
    generation: Generation, reward_model: torch.nn.Module, autocast: Block, micro_batch_size: int
) -> torch.Tensor:
    """Score that a reward model gives each query with its completion, at the last valid token. Shape `(B,)`."""
    scores = torch.zeros(len(generation.lengths), device=generation.lengths.device)
    for batch in micro_batches(generation, micro_batch_size):
        ids, mask = batch.sequences()
        with autocast():
            outputs = head_outputs(reward_model, ids, mask)
        last = batch.query_ids.shape[1] + batch.lengths - 1
        scores[batch.rows] = outputs[torch.arange(len(last), device=last.device), last].float()
    return scores


def adjust_scores(
    scores: Sequence[float | None], stopped: torch.Tensor, missing_eos_penalty: float | None, clip: float | None
) -> tuple[torch.Tensor, torch.Tensor]:
    """
    Apply the penalty for completions that did not end, then the clip.

    Args:
        scores (`Sequence[float | None]`):
            Score of each completion, `None` where there is none.
        stopped (`torch.Tensor` of shape `(B,)`):
            Whether the completion came to an end by itself.
        missing_eos_penalty (`float` or `None`):
            Subtracted where it did not.
        clip (`float` or `None`):
            Largest absolute value of a score.

    Returns:
        `tuple[torch.Tensor, torch.Tensor]`: Scores, 0 where there is none, and where there is one. Shape `(B,)` each.
    """
    scored = torch.tensor([score is not None for score in scores], device=stopped.device)
    values = torch.tensor([score or 0.0 for score in scores], device=stopped.device)
    if missing_eos_penalty is not None:
        values = values - missing_eos_penalty * (scored & ~stopped)
    if clip is not None:
        values = values.clamp(-clip, clip)
    return values, scored


def reward_tokens(
    generation: Generation,
    tokens: TokenScores,
    scores: Scores,
    error_masks: Sequence[Sequence[bool]] | None,
    args: StepCoderPPOConfig,
    sum_over_processes: Sum,
) -> Rewards:
    """
    Reward each token: the KL penalty, that of lines with errors, and at the last valid token the score.

    Args:
        generation ([`Generation`]):
            `B` completions.
        tokens ([`TokenScores`]):
            Log-probabilities.
        scores ([`Scores`]):
            Scores.
        error_masks (`Sequence[Sequence[bool]]` or `None`):
            Tokens that `error_token_penalty` is taken from, `None` without it.
        args ([`StepCoderPPOConfig`]):
            Weights.
        sum_over_processes (`Callable`):
            Sum of a tensor over all processes.

    Returns:
        [`Rewards`]
    """
    lengths = generation.lengths
    valid = length_mask(lengths, tokens.log_probs.shape[1])
    kl = kl_divergence(tokens.log_probs, tokens.ref_log_probs, args.kl_estimator).masked_fill(~valid, 0.0)
    rewards = token_rewards(kl, scores.scores, lengths, args.kl_coef)
    if error_masks is not None:
        blamed = pad_masks(error_masks, generation.response_ids)
        rewards = rewards - args.error_token_penalty * (blamed & scores.scored[:, None])
    if args.whiten_rewards:
        used = valid & scores.scored[:, None]
        rewards = masked_whiten(rewards, used, sum_over_processes, shift_mean=False).masked_fill(~valid, 0.0)
    return Rewards(kl, rewards)


def make_experience(
    generation: Generation,
    tokens: TokenScores,
    rewards: Rewards,
    scores: Scores,
    loss_mask: torch.Tensor,
    args: StepCoderPPOConfig,
    sum_over_processes: Sum,
) -> Experience:
    """
    Advantages over all valid tokens, whitened over the kept ones, and returns.

    Args:
        generation ([`Generation`]):
            `B` completions.
        tokens ([`TokenScores`]):
            Log-probabilities and values.
        rewards ([`Rewards`]):
            Rewards.
        scores ([`Scores`]):
            Scores.
        loss_mask (`torch.Tensor` of shape `(B, T)`):
            Kept tokens.
        args ([`StepCoderPPOConfig`]):
            `gamma`, `lam` and `whiten_advantages`.
        sum_over_processes (`Callable`):
            Sum of a tensor over all processes.

    Returns:
        [`Experience`]
    """
    valid = length_mask(generation.lengths, loss_mask.shape[1])
    advantages = generalized_advantages(rewards.rewards, tokens.values, valid, args.gamma, args.lam)
    returns = advantages + tokens.values
    if args.whiten_advantages:
        advantages = masked_whiten(advantages, loss_mask, sum_over_processes)
    return Experience(
        query_ids=generation.query_ids,
        query_mask=generation.query_mask,
        response_ids=generation.response_ids,
        lengths=generation.lengths,
        valid_mask=valid & scores.scored[:, None],
        loss_mask=loss_mask,
        log_probs=tokens.log_probs,
        values=tokens.values,
        advantages=advantages,
        returns=returns,
    )
