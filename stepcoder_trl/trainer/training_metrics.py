"""
Metrics of training: definitions, sums of each process, and means over processes and updates.

To add a metric, add it to `METRICS`, add its sums with [`add`] or in a function below, and add its line to the table
in docs/trainer.md, which a test compares with `METRICS`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch

from stepcoder_trl.steps.programs import Feedback
from stepcoder_trl.trainer.ppo_math import PolicyTerms, ReduceSum, ValueTerms, explained_variance, masked_sum
from stepcoder_trl.trainer.records import Experience, Rollout, Scores, Update
from stepcoder_trl.types import Outcome


Totals = dict[str, tuple[float, float]]  # numerator and denominator of each mean, on this process


@dataclass(frozen=True)
class Metric:
    """Definition of a metric."""

    name: str  # in logs; `NAME` stands for the name of a reward function
    help: str
    of: str = ""  # the things that the mean is taken over
    over_processes: Literal["mean", "sum"] = "mean"  # "sum" ignores the denominators
    over_updates: Literal["mean", "sum", "last"] = "mean"  # how several updates become one logged value


_VALID = "valid tokens of scored completions"
_VALID_OF_PASSES = f"{_VALID}, all passes"
_RUN = "programs run, without dropped passes"
METRICS = {
    metric.name: metric
    for metric in (
        Metric("objective/kl", "KL estimate, summed over a completion", "completions"),
        Metric(
            "objective/entropy", "Minus log-probability of the sampled tokens, summed over a completion", "completions"
        ),
        Metric(
            "objective/non_score_reward",
            "`-kl_coef` times KL, summed over a completion; without `error_token_penalty`",
            "completions",
        ),
        Metric("objective/scores", "Score after weights, penalty and clip", "scored completions"),
        Metric("objective/rlhf_reward", "`objective/non_score_reward` + `objective/scores`"),
        Metric(
            "rewards/NAME",
            "Score of one reward function or of `reward_model`, before its weight; only where there are several",
            "completions it scored",
        ),
        Metric("loss/policy_avg", "Clipped policy loss of an optimizer step", "optimizer steps"),
        Metric("loss/value_avg", "Clipped value loss of an optimizer step, before `vf_coef`", "optimizer steps"),
        Metric("policy/approxkl_avg", "Half the squared log-ratio of new to old policy", _VALID_OF_PASSES),
        Metric("policy/clipfrac_avg", "Share of tokens whose ratio was clipped", "kept tokens, all passes"),
        Metric(
            "policy/entropy_avg",
            "Entropy of the distribution at the sampling temperature, without top-p",
            _VALID_OF_PASSES,
        ),
        Metric("val/clipfrac_avg", "Share of tokens whose value was clipped", _VALID_OF_PASSES),
        Metric("val/ratio", "Ratio of new to old policy; 1 in the first optimizer step", _VALID_OF_PASSES),
        Metric("val/ratio_var", "Its variance", _VALID_OF_PASSES),
        Metric("val/num_eos_tokens", "EOS tokens sampled", over_processes="sum", over_updates="sum"),
        Metric(
            "val/explained_variance",
            "Share of the returns' variance that the critic explained at the rollout: 1 perfect, 0 no better "
            "than their mean",
            _VALID,
        ),
        Metric("grad_norm", "Norm of the gradient over policy and critic, before clipping", "optimizer steps"),
        Metric("completions/mean_length", "Tokens, stop token included", "completions"),
        Metric("completions/stopped", "Share that ended by itself, by stop token or closing fence", "completions"),
        Metric("fgo/kept_share", "Kept tokens over valid tokens", _VALID),
        Metric("fgo/empty_share", "Share of completions of which no token is kept", "scored completions"),
        Metric("executor/passed", "Share of programs that passed every test", _RUN),
        Metric("executor/failed", "Share with a wrong answer", _RUN),
        Metric("executor/runtime_error", "Share that raised or crashed", _RUN),
        Metric("executor/timeout", "Share stopped at the time limit", _RUN),
        Metric("executor/memory_exceeded", "Share stopped at the memory limit", _RUN),
        Metric("executor/compile_error", "Share that does not compile", _RUN),
        Metric(
            "executor/lost_traces",
            "Programs of which it is not known what ran: the trace was lost or tampered with. All their tokens "
            "are kept",
            over_processes="sum",
            over_updates="sum",
        ),
        Metric(
            "executor/untrusted_passes",
            "Passes of which a verdict was taken inside the process that ran the program; dropped ones too",
            over_processes="sum",
            over_updates="sum",
        ),
        Metric("executor/untrusted_pass_rate", "Share of them", "passes, dropped ones too"),
        Metric(
            "executor/infrastructure_errors",
            "Programs that could not be run for a reason that is ours",
            over_processes="sum",
            over_updates="sum",
        ),
        Metric(
            "executor/programs_per_s",
            "Programs per second from the first submission to the last result, all processes together",
            "updates",
            over_processes="sum",
        ),
        Metric("executor/wait_s", "Seconds that training stood still waiting for executions", "processes, updates"),
        Metric("curriculum/scratch_share", "Share of problems that start from scratch", over_updates="last"),
        Metric("curriculum/mean_stage", "Mean number of the current stage; 0 is scratch", over_updates="last"),
        Metric("curriculum/pass_rate", "Mean moving pass rate", over_updates="last"),
        Metric("curriculum/revealed_share", "Mean share of the solution in the current prefix", over_updates="last"),
        Metric("curriculum/advanced", "Moves toward scratch since the beginning", over_updates="last"),
        Metric(
            "lr", "Learning rate of the policy in the update; the critic's keeps its proportion", over_updates="last"
        ),
        Metric("episode", "Completions so far", over_updates="last"),
        Metric("eps", "Completions per second since training began or went on", over_updates="last"),
        Metric("epoch", "Passes over the training set so far", over_updates="last"),
    )
}
_OTHER = Metric("", "")  # a metric that a caller added is a mean


def metrics_table() -> str:
    """Return the table of the metrics for docs/trainer.md."""
    rows = ["| metric | meaning | mean over |", "|---|---|---|"]
    for metric in METRICS.values():
        how = metric.of if metric.over_updates == "mean" else f"*{metric.over_updates}*"
        rows.append(f"| `{metric.name}` | {metric.help} | {how} |")
    return "\n".join(rows) + "\n"


def metric_of(name: str) -> Metric:
    """Return the definition of a metric."""
    group = name.partition("/")[0]
    return METRICS.get(name) or METRICS.get(f"{group}/NAME", _OTHER)


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


def update_totals(update: Update, kl_coef: float, eos_token_id: int | None, with_tests: bool) -> Totals:
    """
    Compute the sums of an update, except those of its losses.

    `with_tests` says whether the training set has tests: all processes need the same keys, whatever rows they drew.
    """
    totals = _completion_totals(update.rollout, update.scores, eos_token_id)
    if with_tests:
        totals.update(_execution_totals(update.feedback))
    totals.update(_token_totals(update, kl_coef))
    return totals


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


def _execution_totals(feedback: Feedback) -> Totals:
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


def finish_metrics(totals: Totals, experience: Experience, reduce: ReduceSum) -> dict[str, float]:
    """Compute the metrics of an update over all processes, which have the same keys in `totals`. 0 over 0 is 0."""
    device = experience.lengths.device
    dtype = torch.float32 if device.type == "mps" else torch.float64
    pairs = reduce(torch.tensor(list(totals.values()), device=device, dtype=dtype)).tolist()
    metrics: dict[str, float] = {}
    for name, (top, bottom) in zip(totals, pairs, strict=True):
        metrics[name] = top if metric_of(name).over_processes == "sum" else top / bottom if bottom else 0.0
    metrics["objective/rlhf_reward"] = metrics["objective/non_score_reward"] + metrics["objective/scores"]
    metrics["val/ratio_var"] = max(0.0, metrics["val/ratio_var"] - (metrics["val/ratio"] - 1) ** 2)
    explained = explained_variance(experience.values, experience.returns, experience.valid_mask, reduce)
    metrics["val/explained_variance"] = explained.item()
    return metrics


def summarize(history: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Combine the metrics of several updates: means, sums or last values, as `METRICS` defines."""
    summary = {}
    for name in dict.fromkeys(name for metrics in history for name in metrics):
        values = [metrics[name] for metrics in history if name in metrics]
        how = metric_of(name).over_updates
        summary[name] = {"mean": sum(values) / len(values), "sum": sum(values), "last": values[-1]}[how]
    return summary
