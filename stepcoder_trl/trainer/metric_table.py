"""
Every metric of training and evaluation: its name, its meaning, and over what it is a mean.

The docs' page of metrics is made from these tables. A metric that is not in them fails a test.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple


class Metric(NamedTuple):
    """
    Metric of a log.

    `over` says what the value is a mean over, or how the updates between two logs become one value: `"sum"`, or
    `"last"` for the last value. It is empty where neither applies.
    """

    name: str
    meaning: str
    over: str


_TOKENS = "valid tokens of scored completions, all passes"
_RUN = "programs run, without dropped passes"

PPO_METRICS = (
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
    Metric("objective/rlhf_reward", "`objective/non_score_reward` + `objective/scores`", ""),
    Metric(
        "rewards/NAME",
        "Score of one reward function or of `reward_model`, before its weight; only where there are several",
        "completions it scored",
    ),
    Metric("loss/policy_avg", "Clipped policy loss of an optimizer step", "optimizer steps"),
    Metric("loss/value_avg", "Clipped value loss of an optimizer step, before `vf_coef`", "optimizer steps"),
    Metric(
        "loss/imitation_avg",
        "Imitation of prefixes of an optimizer step, before its weight; only with `prefix_imitation`",
        "optimizer steps",
    ),
    Metric("policy/approxkl_avg", "Half the squared log-ratio of new to old policy", _TOKENS),
    Metric("policy/clipfrac_avg", "Share of tokens whose ratio was clipped", "kept tokens, all passes"),
    Metric("policy/entropy_avg", "Entropy of the distribution at the sampling temperature, without top-p", _TOKENS),
    Metric("val/clipfrac_avg", "Share of tokens whose value was clipped", _TOKENS),
    Metric("val/ratio", "Ratio of new to old policy; 1 in the first optimizer step", _TOKENS),
    Metric("val/ratio_var", "Its variance", _TOKENS),
    Metric("val/num_eos_tokens", "EOS tokens sampled", "sum"),
    Metric(
        "val/explained_variance",
        "Share of the returns' variance that the critic explained at the rollout: 1 perfect, 0 no better than their "
        "mean",
        "valid tokens of scored completions",
    ),
    Metric("grad_norm", "Norm of the gradient over policy and critic, before clipping", "optimizer steps"),
    Metric("completions/mean_length", "Tokens, stop token included", "completions"),
    Metric("completions/stopped", "Share that ended by itself, by stop token or closing fence", "completions"),
    Metric("fgo/kept_share", "Kept tokens over valid tokens", "valid tokens of scored completions"),
    Metric("fgo/empty_share", "Share of completions of which no token is kept", "scored completions"),
    Metric("fgo/test_share", 'With `fgo="tests"`: mean share of the tests that ran a kept token', "kept tokens"),
    Metric("executor/passed", "Share of programs that passed every test", _RUN),
    Metric("executor/failed", "Share with a wrong answer", _RUN),
    Metric("executor/runtime_error", "Share that raised or crashed", _RUN),
    Metric("executor/timeout", "Share stopped at the time limit", _RUN),
    Metric("executor/memory_exceeded", "Share stopped at the memory limit", _RUN),
    Metric("executor/compile_error", "Share that does not compile", _RUN),
    Metric(
        "executor/lost_traces",
        "Programs of which it is not known what ran: the trace was lost or tampered with. All their tokens are kept",
        "sum",
    ),
    Metric(
        "executor/untrusted_passes",
        "Passes of which a verdict was taken inside the process that ran the program; dropped ones too",
        "sum",
    ),
    Metric("executor/untrusted_pass_rate", "Share of them", "passes, dropped ones too"),
    Metric("executor/infrastructure_errors", "Programs that could not be run for a reason that is ours", "sum"),
    Metric(
        "executor/programs_per_s",
        "Programs per second from the first submission to the last result, all processes together",
        "updates",
    ),
    Metric("executor/wait_s", "Seconds that training waited for executions", "processes, updates"),
    Metric("curriculum/scratch_share", "Share of problems that start from scratch", "last"),
    Metric("curriculum/mean_stage", "Mean number of the current stage; 0 is scratch", "last"),
    Metric("curriculum/pass_rate", "Mean moving pass rate", "last"),
    Metric("curriculum/revealed_share", "Mean share of the solution in the current prefix", "last"),
    Metric("curriculum/advanced", "Moves toward scratch since the beginning", "last"),
    Metric(
        "curriculum/prefix_log_prob",
        "Mean log-probability of the prefix tokens of a completion at temperature 1; only with `prefix_imitation`, 0 "
        "where no prefix is shown",
        "completions with a prefix",
    ),
    Metric("lr", "Learning rate of the policy in the update; the critic's keeps its proportion", "last"),
    Metric("episode", "Completions so far", "last"),
    Metric("eps", "Completions per second since training began or went on", "last"),
    Metric("epoch", "Passes over the training set so far", "last"),
)


_OF_STATE = tuple(one.name for one in PPO_METRICS if one.name.startswith("curriculum/") and one.over == "last")


def _as_in_ppo(over: str, *names: str) -> tuple[Metric, ...]:
    """Return metrics of PPO with other words on what they are a mean over."""
    return tuple(one._replace(over=over) for one in PPO_METRICS if one.name in names)


# Those of our GRPO, beside TRL's own. A logged value is the mean over the rounds since the line before.
GRPO_METRICS = (
    Metric("groups/all_pass", "Share of groups in which every scored completion passed", "groups with a verdict"),
    Metric("groups/none_pass", "Share in which none passed", "groups with a verdict"),
    Metric("groups/no_spread", "Share with equal scores, so without advantage", "groups"),
    Metric("groups/stage_N", 'Share drawn at stage N; not with `curriculum="adaptive"`', "groups"),
    Metric("fgo/kept_share", "Kept tokens over tokens of the completions in the loss", "rounds"),
    Metric("fgo/empty_share", "Share of completions of which no token is kept", "rounds"),
    Metric("fgo/test_share", 'With `fgo="tests"`: mean share of the tests that ran a kept token', "rounds"),
    *_as_in_ppo("rounds", *(one.name for one in PPO_METRICS if one.name.startswith("executor/"))),
    *_as_in_ppo("last round", *_OF_STATE),
    Metric(
        "curriculum/prefix_log_prob",
        "Mean log-probability of the prefix tokens of a completion; only with `prefix_imitation`, where one is shown",
        "micro-batches with a prefix",
    ),
)
EVALUATION_METRICS = (
    Metric("eval_pass@1", "Share of samples that pass, per problem", "problems with a sample that was run"),
    Metric(
        "eval_pass@k",
        "Unbiased estimate that one of k samples passes (arXiv:2107.03374)",
        "problems with k samples that were run",
    ),
    Metric("eval_executor/passed", "Share of programs that passed every test", "programs run"),
    Metric("eval_executor/failed", "Share with a wrong answer", "programs run"),
    Metric("eval_executor/runtime_error", "Share that raised or crashed", "programs run"),
    Metric("eval_executor/timeout", "Share stopped at the time limit", "programs run"),
    Metric("eval_executor/memory_exceeded", "Share stopped at the memory limit", "programs run"),
    Metric("eval_executor/compile_error", "Share that does not compile", "programs run"),
    Metric("eval_executor/infrastructure_errors", "Programs that the sandbox failed to run", "sum"),
    Metric("eval_objective/scores", "Score after weights, penalty and clip", "scored completions"),
    Metric("eval_completions/mean_length", "Tokens, stop token included", "completions"),
    Metric("eval_completions/stopped", "Share that ended by itself", "completions"),
    Metric("eval_runtime", "Seconds", ""),
)


def metrics_table(metrics: Sequence[Metric]) -> str:
    """Return a table of metrics for the documentation, in Markdown."""
    rows = ["| metric | meaning | mean over |", "|---|---|---|"]
    for name, meaning, over in metrics:
        rows.append(f"| `{name}` | {meaning} | {f'*{over}*' if over in ('sum', 'last') else over} |")
    return "\n".join(rows) + "\n"
