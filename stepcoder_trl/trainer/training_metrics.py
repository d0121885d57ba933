"""
Metrics of training: sums of each process, and means over processes and updates.

To add a metric, add its sums with [`add`] or in a function below, and explain it in `metric_table.py`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch

from stepcoder_trl.steps.credit import Credit
from stepcoder_trl.steps.programs import Feedback
from stepcoder_trl.trainer.metric_table import PPO_METRICS
from stepcoder_trl.trainer.ppo_math import PolicyTerms, ReduceSum, ValueTerms, explained_variance, masked_sum
from stepcoder_trl.trainer.records import Experience, Rollout, Scores, Update
from stepcoder_trl.types import Outcome


Totals = dict[str, tuple[float, float]]  # numerator and denominator of each mean, on this process


# Counts: summed over processes and updates. `executor/programs_per_s` is summed over processes only.
_COUNTS = {one.name for one in PPO_METRICS if one.over == "sum"}
# Metrics of which the last value is logged. All others are means.
_LATEST = {one.name for one in PPO_METRICS if one.over == "last"}


def over_updates(name: str) -> Literal["sum", "last", "mean"]:
    """Return how several updates become one logged value."""
    return "sum" if name in _COUNTS else "last" if name in _LATEST else "mean"


def add(totals: Totals, name: str, numerator: float, denominator: float = 0.0) -> None:
    """Add to numerator and denominator of a metric."""
    before = totals.get(name, (0.0, 0.0))
    totals[name] = (before[0] + numerator, before[1] + denominator)


@dataclass(frozen=True)
class LossTerms:
    """Losses of a micro-batch."""

    policy_loss: torch.Tensor  # its part of the policy loss of the optimizer step, a scalar
    value_loss: torch.Tensor  # its part of the value loss, a scalar
    policy: PolicyTerms
    value: ValueTerms
    entropy: torch.Tensor  # of each token, shape (B, T)


@torch.no_grad()
def add_losses(totals: Totals, batch: Experience, terms: LossTerms, steps: float) -> None:
    """Add the losses of a micro-batch, which is a fraction `steps` of an optimizer step of all processes."""
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
    parts = iter(torch.stack(flat).tolist())  # one transfer from the device
    for name in sums:
        add(totals, name, next(parts), next(parts))


@torch.no_grad()
def add_imitation(
    totals: Totals, loss: torch.Tensor, means: torch.Tensor, prefix_lengths: torch.Tensor, steps: float
) -> None:
    """Add the imitation loss of a micro-batch, as in [`add_losses`], and the mean log-probabilities of prefixes."""
    add(totals, "loss/imitation_avg", loss.item(), steps)
    add(totals, "curriculum/prefix_log_prob", means.sum().item(), (prefix_lengths > 0).sum().item())


def update_totals(
    update: Update, kl_coef: float, eos_token_id: int | None, with_tests: bool, credit: Credit | None = None
) -> Totals:
    """
    Compute the sums of an update, except those of its losses.

    `with_tests` says whether the training set has tests: all processes need the same keys, whatever rows they drew.
    """
    totals = _completion_totals(update.rollout, update.scores, eos_token_id)
    if with_tests:
        totals.update(execution_totals(update.feedback))
    totals.update(_token_totals(update, kl_coef))
    totals.update(credit_totals(credit, update.loss_mask))
    return totals


def credit_totals(credit: Credit | None, kept: torch.Tensor) -> Totals:
    """Compute the sums of FGO per test, over the `kept` tokens. None without it."""
    return {} if credit is None else {"fgo/test_share": (masked_sum(credit.shares, kept).item(), kept.sum().item())}


def _completion_totals(rollout: Rollout, scores: Scores, eos_token_id: int | None) -> Totals:
    size = len(rollout.completions)
    ended = [0 if eos_token_id is None else one.token_ids.count(eos_token_id) for one in rollout.completions]
    totals: Totals = {
        "objective/scores": (scores.scores[scores.scored].sum().item(), scores.scored.sum().item()),
        "completions/mean_length": (rollout.generation.lengths.sum().item(), size),
        "completions/stopped": (rollout.generation.stopped.sum().item(), size),
        "val/num_eos_tokens": (sum(ended), 0.0),
    }
    if len(scores.by_source) > 1:
        for name, values in scores.by_source.items():
            given = [value for value in values if value is not None]
            totals[f"rewards/{name}"] = (sum(given), len(given))
    return totals


def execution_totals(feedback: Feedback) -> Totals:
    """Compute the sums of the programs that were run."""
    ran = [execution for execution in feedback.executions if execution is not None]
    counts = Counter(execution.outcome for execution in ran)
    totals: Totals = {f"executor/{outcome}": (counts[outcome], len(ran)) for outcome in Outcome}
    untrusted = sum(one.is_untrusted_pass for one in ran) + feedback.dropped_passes
    totals["executor/untrusted_passes"] = (untrusted, 0.0)
    totals["executor/untrusted_pass_rate"] = (untrusted, counts[Outcome.PASSED] + feedback.dropped_passes)
    totals["executor/lost_traces"] = (sum(one.trace_lost for one in ran), 0.0)
    totals["executor/infrastructure_errors"] = (feedback.infrastructure_errors, 0.0)
    totals["executor/programs_per_s"] = (feedback.programs_per_s, 0.0)
    totals["executor/wait_s"] = (feedback.wait_s, 1.0)
    return totals


def _token_totals(update: Update, kl_coef: float) -> Totals:
    size, kl = len(update.tokens.log_probs), update.rewards.kl.sum().item()
    kept, valid = update.experience.loss_mask, update.experience.valid_mask
    used = valid.any(1)
    return {
        "objective/kl": (kl, size),
        "objective/entropy": (-update.tokens.log_probs.sum().item(), size),
        "objective/non_score_reward": (-kl_coef * kl, size),
        "fgo/kept_share": (kept.sum().item(), valid.sum().item()),
        "fgo/empty_share": ((used & ~kept.any(1)).sum().item(), used.sum().item()),
    }


def reduce_totals(totals: Totals, device: torch.device, reduce: ReduceSum) -> dict[str, float]:
    """Compute counts and means over all processes, which have the same keys in `totals`. 0 over 0 is 0."""
    dtype = torch.float32 if device.type == "mps" else torch.float64
    pairs = reduce(torch.tensor(list(totals.values()), device=device, dtype=dtype)).tolist()
    metrics: dict[str, float] = {}
    for name, (top, bottom) in zip(totals, pairs, strict=True):
        summed = name in _COUNTS or name == "executor/programs_per_s"
        metrics[name] = top if summed else top / bottom if bottom else 0.0
    return metrics


def finish_metrics(totals: Totals, experience: Experience, reduce: ReduceSum) -> dict[str, float]:
    """Compute the metrics of an update over all processes, which have the same keys in `totals`."""
    metrics = reduce_totals(totals, experience.lengths.device, reduce)
    metrics["objective/rlhf_reward"] = metrics["objective/non_score_reward"] + metrics["objective/scores"]
    metrics["val/ratio_var"] = max(0.0, metrics["val/ratio_var"] - (metrics["val/ratio"] - 1) ** 2)
    explained = explained_variance(experience.values, experience.returns, experience.valid_mask, reduce)
    metrics["val/explained_variance"] = explained.item()
    return metrics


def summarize(history: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Combine the metrics of several updates."""
    summary = {}
    for name in dict.fromkeys(name for metrics in history for name in metrics):
        values = [metrics[name] for metrics in history if name in metrics]
        combined = {"mean": sum(values) / len(values), "sum": sum(values), "last": values[-1]}
        summary[name] = combined[over_updates(name)]
    return summary
