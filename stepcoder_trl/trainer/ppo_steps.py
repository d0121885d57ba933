"""Steps of a PPO update as functions: sampling, forward passes in micro-batches, scores, rewards and advantages."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

import torch

from stepcoder_trl.evaluation.generation import Generation, SamplingConfig, eos_token_ids
from stepcoder_trl.steps import scores as reward_scores
from stepcoder_trl.steps.credit import Credit, deviations_from_mean, feedback_weight, tests_credit
from stepcoder_trl.steps.padding import pad_masks
from stepcoder_trl.steps.programs import Feedback
from stepcoder_trl.steps.starts import Start, read_completions
from stepcoder_trl.trainer.batches import join_sequences, micro_batches
from stepcoder_trl.trainer.models import head_outputs, policy_for_generation, response_logits
from stepcoder_trl.trainer.ppo_config import StepCoderPPOConfig
from stepcoder_trl.trainer.ppo_math import (
    ReduceSum,
    generalized_advantages,
    kl_divergence,
    length_mask,
    masked_whiten,
    per_test_advantages,
    token_log_probs,
    token_rewards,
    whiten_tests,
)
from stepcoder_trl.trainer.records import Experience, Rewards, Rollout, Scores, TokenScores
from stepcoder_trl.trainer.vllm_sampler import send_weights


if TYPE_CHECKING:
    from stepcoder_trl.trainer.ppo_trainer import StepCoderPPOTrainer

Block = Callable[[], AbstractContextManager[Any]]


def generate_rollout(
    trainer: StepCoderPPOTrainer, starts: tuple[Start, ...], sampling: SamplingConfig | None
) -> Rollout:
    """Sample a completion for each start, and extract its program. `None` means the sampling settings of training."""
    args, tokenizer = trainer.args, trainer.processing_class
    if sampling is None:
        send_weights(trainer.generate)
    sampling = sampling or SamplingConfig(args.response_length, args.temperature, args.top_p, trainer.stop_token_id)
    trainer.model.eval()
    gather = args.ds3_gather_for_generation and not args.use_vllm
    checkpointing = args.gradient_checkpointing_kwargs
    prepared = policy_for_generation(trainer.accelerator, trainer.model, gather, checkpointing)
    with prepared as policy, trainer.accelerator.autocast():
        queries, size = [start.query for start in starts], args.local_rollout_forward_batch_size
        generation = trainer.generate(policy, queries, tokenizer, sampling, size, share_prompts=gather)
        eos = eos_token_ids(policy, tokenizer)
    return Rollout(read_completions(starts, generation.completion_ids(), tokenizer, eos), generation)


@torch.no_grad()
def score_tokens(
    generation: Generation, model: Any, reference: Block, autocast: Block, micro_batch_size: int, temperature: float
) -> TokenScores:
    """Compute log-probabilities under policy and reference, and values. All are 0 beyond the valid tokens."""
    shape, device = generation.response_ids.shape, generation.response_ids.device
    scores = TokenScores(*(torch.zeros(shape, device=device) for _ in range(3)))
    for rows, batch in micro_batches(generation, micro_batch_size):
        ids, mask = join_sequences(batch)
        length = batch.response_ids.shape[1]
        logits, values = model(ids, mask, length)
        log_probs = token_log_probs(logits, batch.response_ids, temperature)
        del logits
        with reference() as reference_model, autocast():
            ref_logits = response_logits(reference_model, ids, mask, length)
        ref_log_probs = token_log_probs(ref_logits, batch.response_ids, temperature)
        del ref_logits
        valid = length_mask(batch.lengths, length)
        scores.log_probs[rows, :length] = log_probs.masked_fill(~valid, 0.0)
        scores.ref_log_probs[rows, :length] = ref_log_probs.masked_fill(~valid, 0.0)
        scores.values[rows, :length] = values.masked_fill(~valid, 0.0)
    return scores


@torch.no_grad()
def score_sequences(
    generation: Generation, reward_model: torch.nn.Module, autocast: Block, micro_batch_size: int
) -> torch.Tensor:
    """Return the reward model's score of each completion, at the last valid token. Shape `(B,)`."""
    scores = torch.zeros(len(generation.lengths), device=generation.lengths.device)
    for rows, batch in micro_batches(generation, micro_batch_size):
        ids, mask = join_sequences(batch)
        with autocast():
            outputs = head_outputs(reward_model, ids, mask)
        last = batch.query_ids.shape[1] + batch.lengths - 1
        scores[rows] = outputs[torch.arange(len(last), device=last.device), last].float()
    return scores


def score_completions(trainer: StepCoderPPOTrainer, rollout: Rollout, feedback: Feedback) -> Scores:
    """Compute the weighted sum of reward functions and reward model, with penalty and clip."""
    completions, executions = rollout.completions, feedback.executions
    columns = reward_scores.reward_columns(completions, executions) | trainer.reward_log.keywords(trainer.state)
    by_source = reward_scores.call_rewards(trainer.reward_funcs, columns)
    if trainer.reward_model is not None:
        values = trainer.reward_model_scores(rollout).tolist()
        by_source["reward_model"] = reward_scores.checked_scores("reward_model", values, len(values))
    combined = reward_scores.combine_scores(by_source, trainer.reward_weights)
    combined = reward_scores.without_failed_programs(combined, completions, executions)
    penalty, clip = trainer.args.missing_eos_penalty, trainer.args.reward_clip
    return Scores(*adjust_scores(combined, rollout.generation.stopped, penalty, clip), by_source)


def adjust_scores(
    scores: Sequence[float | None], stopped: torch.Tensor, missing_eos_penalty: float | None, clip: float | None
) -> tuple[torch.Tensor, torch.Tensor]:
    """
    Subtract the penalty from completions that did not stop, then clip to `[-clip, clip]`.

    Returns the scores, 0 for `None`, and whether each completion has one. Both of shape `(B,)`.
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
    reduce: ReduceSum,
) -> Rewards:
    """Compute the reward of each token. `error_token_penalty` is subtracted at the tokens of `error_masks`."""
    lengths = generation.lengths
    valid = length_mask(lengths, tokens.log_probs.shape[1])
    kl = kl_divergence(tokens.log_probs, tokens.ref_log_probs, args.kl_estimator).masked_fill(~valid, 0.0)
    rewards = token_rewards(kl, scores.scores, lengths, args.kl_coef)
    if error_masks is not None:
        blamed = pad_masks(error_masks, generation.response_ids)
        rewards = rewards - args.error_token_penalty * (blamed & scores.scored[:, None])
    if args.whiten_rewards:
        used = valid & scores.scored[:, None]
        rewards = masked_whiten(rewards, used, reduce, shift_mean=False).masked_fill(~valid, 0.0)
    return Rewards(kl, rewards)


def compute_credit(trainer: StepCoderPPOTrainer, rollout: Rollout, feedback: Feedback) -> Credit | None:
    """Compute the part of each test in the advantages, or return `None` without FGO per test."""
    rule, executions = trainer.mask_rule, feedback.executions
    if not rule.is_per_test:
        return None
    weight = feedback_weight(trainer.reward_funcs, trainer.reward_weights)
    deviations = [deviations_from_mean(execution, weight) for execution in executions]
    step, like = trainer.state.global_step, rollout.generation.response_ids
    return tests_credit(rollout.completions, executions, deviations, rule, step, like)


def make_experience(
    generation: Generation,
    tokens: TokenScores,
    rewards: Rewards,
    scores: Scores,
    loss_mask: torch.Tensor,
    args: StepCoderPPOConfig,
    reduce: ReduceSum,
    credit: Credit | None = None,
) -> Experience:
    """
    Compute returns and advantages over all valid tokens. Advantages are whitened over the kept tokens.

    With `credit`, a token has the advantages of the tests that ran it. The targets of the critic stay as they are.
    """
    valid = length_mask(generation.lengths, loss_mask.shape[1])
    advantages = generalized_advantages(rewards.rewards, tokens.values, valid, args.gamma, args.lam)
    returns = advantages + tokens.values
    if credit is not None:
        decay = args.gamma * args.lam
        advantages = per_test_advantages(advantages, credit.shares, credit.deviations, generation.lengths, decay)
    if args.whiten_advantages and credit is not None:
        advantages = whiten_tests(advantages, credit.shares, loss_mask, reduce)
    elif args.whiten_advantages:
        advantages = masked_whiten(advantages, loss_mask, reduce)
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
