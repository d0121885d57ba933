"""Metrics: sums over completions and tokens, which become means over all processes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from stepcoder_trl.steps.programs import Feedback
from stepcoder_trl.trainer.ppo_math import PolicyTerms, ValueTerms, masked_sum
from stepcoder_trl.trainer.records import Experience, Rewards, Rollout, Scores, TokenScores
from stepcoder_trl.types import Execution, Outcome


Totals = dict[str, tuple[float, float]]  # numerator and denominator of a mean, to be added up over processes

_LATEST = ("lr", "episode", "eps")  # metrics of which the last value is logged, with those of the curriculum
# Logged as sums.
_COUNTS = (
    *("executor/infrastructure_errors", "executor/lost_traces", "executor/untrusted_passes"),
    "val/num_eos_tokens",
)


def add(totals: Totals, name: str, numerator: float, denominator: float) -> None:
    """Add to a mean's numerator and denominator."""
    before = totals.get(name, (0.0, 0.0))
    totals[name] = (before[0] + numerator, before[1] + denominator)


@dataclass(frozen=True)
class LossTerms:
    """
    Losses of a micro-batch.

    Attributes:
        policy_loss (`torch.Tensor`): Share of the micro-batch in the policy loss of its optimizer step, a scalar.
        value_loss (`torch.Tensor`): Share in the value loss, a scalar.
        policy (`PolicyTerms`): Policy loss per token.
        value (`ValueTerms`): Value loss per token.
        entropy (`torch.Tensor` of shape `(B, T)`): Entropy per token.
    """

    policy_loss: torch.Tensor
    value_loss: torch.Tensor
    policy: PolicyTerms
    value: ValueTerms
    entropy: torch.Tensor


@torch.no_grad()
def add_losses(totals: Totals, batch: Experience, terms: LossTerms, steps: float) -> None:
    """
    Add the losses of a micro-batch, with one transfer from the device.

    Args:
        totals (`dict`):
            Added to.
        batch (`Experience`):
            Micro-batch.
        terms (`LossTerms`):
            Its losses.
        steps (`float`):
            What the micro-batch is of an optimizer step, all processes together.
    """
    valid, kept = batch.valid_mask, batch.loss_mask
    policy, value = terms.policy, terms.value
    sums = {
        "loss/policy_avg": (terms.policy_loss, steps),
        "loss/value_avg": (terms.value_loss, steps),
        "policy/approxkl_avg": (masked_sum(policy.approx_kl, valid), valid.sum()),
        "policy/clipfrac_avg": (masked_sum(policy.clipped.float(), kept), kept.sum()),
        "policy/entropy_avg": (masked_sum(terms.entropy, valid), valid.sum()),
        "val/clipfrac_avg": (masked_sum(value.clipped.float(), valid), valid.sum()),
        "val/ratio": (masked_sum(policy.ratio, valid), valid.sum()),
        "val/ratio_var": (masked_sum((policy.ratio - 1) ** 2, valid), valid.sum()),
    }
    flat = [torch.as_tensor(part, device=valid.device).float() for pair in sums.values() for part in pair]
    parts = iter(torch.stack(flat).tolist())
    for name in sums:
        add(totals, name, next(parts), next(parts))


def rollout_totals(
    rollout: Rollout,
    feedback: Feedback,
    scores: Scores,
    num_processes: int,
    eos_token_id: int | None,
    *,
    with_tests: bool,
) -> Totals:
    """
    Sums about completions and executions.

    Args:
        rollout (`Rollout`):
            Completions of this process.
        feedback (`Feedback`):
            Their executions.
        scores (`Scores`):
            Their scores.
        num_processes (`int`):
            Processes: what is to be summed instead of averaged is divided by 1 in all.
        eos_token_id (`int` or `None`):
            EOS token.
        with_tests (`bool`):
            Whether the training set has tests. Not read off the samples: all processes must sum the same keys.

    Returns:
        `dict`
    """
    size, once = len(rollout.completions), 1 / num_processes
    ended = (
        [ids.count(eos_token_id) for ids in rollout.generation.completion_ids()] if eos_token_id is not None else []
    )
    totals: Totals = {
        "objective/scores": (scores.scores[scores.scored].sum().item(), scores.scored.sum().item()),
        "completions/mean_length": (rollout.generation.lengths.sum().item(), size),
        "completions/stopped": (rollout.generation.stopped.sum().item(), size),
        "val/num_eos_tokens": (sum(ended), once),
    }
    if len(scores.by_source) > 1:
        for name, values in scores.by_source.items():
            given = [value for value in values if value is not None]
            totals[f"rewards/{name}"] = (sum(given), len(given))
    if with_tests:
        totals.update(_execution_totals(feedback, once))
    return totals


def _execution_totals(feedback: Feedback, once: float) -> Totals:
    ran = [execution for execution in feedback.executions if execution is not None]
    totals: Totals = {f"executor/{outcome}": (_count(ran, outcome), len(ran)) for outcome in Outcome}
    untrusted = sum(one.is_untrusted_pass for one in ran) + feedback.dropped_passes
    totals["executor/untrusted_passes"] = (untrusted, once)
    totals["executor/untrusted_pass_rate"] = (untrusted, _count(ran, Outcome.PASSED) + feedback.dropped_passes)
    totals["executor/lost_traces"] = (sum(one.trace_lost for one in ran), once)
    totals["executor/infrastructure_errors"] = (feedback.infrastructure_errors, once)
    totals["executor/programs_per_s"] = (feedback.programs_per_s, once)
    totals["executor/wait_s"] = (feedback.wait_s, 1.0)
    return totals


def _count(executions: Sequence[Execution], outcome: Outcome) -> int:
    return sum(execution.outcome is outcome for execution in executions)


def token_totals(tokens: TokenScores, rewards: Rewards, experience: Experience, kl_coef: float) -> Totals:
    """
    Sums about tokens.

    Args:
        tokens (`TokenScores`):
            Log-probabilities, 0 beyond the valid tokens.
        rewards (`Rewards`):
            KL estimates.
        experience (`Experience`):
            Masks.
        kl_coef (`float`):
            Weight of the KL penalty.

    Returns:
        `dict`
    """
    size, kl = len(tokens.log_probs), rewards.kl.sum().item()
    kept, valid = experience.loss_mask, experience.valid_mask
    used = valid.any(1)
    return {
        "objective/kl": (kl, size),
        "objective/entropy": (-tokens.log_probs.sum().item(), size),
        "objective/non_score_reward": (-kl_coef * kl, size),
        "fgo/kept_share": (kept.sum().item(), valid.sum().item()),
        "fgo/empty_share": ((used & ~kept.any(1)).sum().item(), used.sum().item()),
    }


def summarize(history: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """
    Metrics of several updates as one.

    Args:
        history (`Sequence[Mapping[str, float]]`):
            Metrics of each update.

    Returns:
        `dict[str, float]`: Sums of counts; last values of rates, counters and the curriculum; means of all else.
    """
    summary = {}
    for name in dict.fromkeys(name for metrics in history for name in metrics):
        values = [metrics[name] for metrics in history if name in metrics]
        if name in _COUNTS:
            summary[name] = sum(values)
        elif name in _LATEST or name.startswith("curriculum/"):
            summary[name] = values[-1]
        else:
            summary[name] = sum(values) / len(values)
    return summary
