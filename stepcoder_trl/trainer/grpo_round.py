"""One round of a GRPO run: from the starts to the masks of the loss. The hooks of the trainer fill it in."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object

from stepcoder_trl.curriculum import Curriculum
from stepcoder_trl.masking import MaskRule
from stepcoder_trl.reports.rollouts import RolloutView
from stepcoder_trl.rewards import scores_of_tests
from stepcoder_trl.steps.credit import Credit, deviations_from_group, tests_credit
from stepcoder_trl.steps.masks import loss_masks
from stepcoder_trl.steps.padding import pad_masks
from stepcoder_trl.steps.programs import Feedback, ProgramRunner, Runs
from stepcoder_trl.steps.rows import PromptRow
from stepcoder_trl.steps.scores import reward_columns, reward_completion
from stepcoder_trl.steps.starts import Completion, Start, report_shares, stage_results
from stepcoder_trl.trainer._trl_grpo import changed_upstream, check_result
from stepcoder_trl.trainer.failures import check_infrastructure
from stepcoder_trl.trainer.grpo_config import FgoDenominator, StepCoderGRPOConfig
from stepcoder_trl.trainer.grpo_groups import (
    Group,
    advantage_scales,
    evaluation_metrics,
    fill_unscored,
    make_groups,
    total_scores,
    training_metrics,
)
from stepcoder_trl.trainer.processes import check_identical
from stepcoder_trl.trainer.rollout_log import completion_views
from stepcoder_trl.trainer.training_metrics import Totals, credit_totals, reduce_totals
from stepcoder_trl.types import Execution


_UPSTREAM_ADDS = {"prompts", "completions", "completion_ids"}  # keyword arguments of reward functions


@dataclass
class Round:
    """
    Record of a round of this process. `B` is the number of its completions.

    Attributes:
        number (`int`): Rounds of training before this one.
        training (`bool`): Whether it belongs to training, not to an evaluation.
        starts (`tuple[Start, ...]`): Start of each completion.
        random_state (`dict`): States of the random generators at its beginning.
        handed_over (`bool`): Whether TRL has asked for the tokens of the queries.
        completions (`tuple[Completion, ...]`): Completions, empty before they are sampled.
        runs (`Runs` or `None`): Programs that are running.
        feedback (`Feedback` or `None`): Results of the programs.
        results (`list`): Task, stage and pass of the completions of all processes.
        scores (`tuple[float | None, ...]`): Weighted sum of the rewards of each completion, `None` without a score.
        groups (`tuple[Group, ...]`): Groups of all processes.
        used (`tuple[bool, ...]`): Whether each completion is in the loss. Empty in an evaluation, as `loss_mask`.
        loss_mask (`torch.Tensor` of shape `(B, T)`): `True` at tokens of the policy loss.
        result (`dict`): What TRL trains on, with our masks.
    """

    number: int
    training: bool
    starts: tuple[Start, ...]
    random_state: dict[str, Any] = field(default_factory=dict, repr=False)
    handed_over: bool = False
    completions: tuple[Completion, ...] = ()
    runs: Runs | None = None
    feedback: Feedback | None = None
    results: list[tuple[str, int, bool | None]] = field(default_factory=list)
    scores: tuple[float | None, ...] = ()
    groups: tuple[Group, ...] = ()
    used: tuple[bool, ...] = ()
    loss_mask: torch.Tensor = field(default_factory=lambda: torch.zeros(0, 0, dtype=torch.bool))
    result: dict[str, Any] = field(default_factory=dict)

    @property
    def prompts(self) -> list[str | list[dict[str, Any]]]:
        """Return the prompts in TRL's form."""
        return [prompt_of(start.row) for start in self.starts]

    @property
    def query_ids(self) -> list[list[int]]:
        """Return the tokens of the queries."""
        return [list(start.query.token_ids) for start in self.starts]

    @property
    def executions(self) -> tuple[Execution | None, ...]:
        """Return the executions, none before they are collected."""
        return () if self.feedback is None else self.feedback.executions

    def views(self) -> list[RolloutView]:
        """Return the completions in the form of the reports, after the masks are made."""
        return completion_views(self.completions, self.executions, self.scores, self.loss_mask)


# Hooks of a round, and when TRL calls each.
_PLACES: dict[str, Callable[[Round], bool]] = {
    "_tokenize_prompts": lambda this: not this.handed_over,
    "_generate_single_turn": lambda this: this.handed_over and this.runs is None,
    "_calculate_rewards": lambda this: this.runs is not None and this.feedback is None,
}


def expected_round(this: Round | None, hook: str) -> Round:
    """Return the record of the round that a hook belongs to. Raise an error if TRL calls the hook out of order."""
    if this is None or not _PLACES[hook](this):
        raise changed_upstream(f"`{hook}` was not called once in a round, at its place")
    return this


def collect(this: Round, runner: ProgramRunner, args: StepCoderGRPOConfig, process: Accelerator) -> Feedback:
    """
    Return the results of the programs of a round, without untrusted passes if they are to be dropped.

    Raises:
        SandboxError: If the sandbox failed to run more programs of all processes than is allowed.
    """
    assert this.runs is not None
    feedback = runner.collect(this.runs)
    if args.untrusted_passes == "drop":
        feedback = feedback.without_untrusted_passes()
    check_infrastructure([feedback], args.max_infrastructure_error_rate, process)
    return feedback


def checked_feedback(this: Round) -> Feedback:
    """Return the results of a round's programs. Raise an error if TRL's result is not that of its completions."""
    if this.feedback is None:
        raise changed_upstream("`_calculate_rewards` was not called in a round")
    check_result(this.result, this.query_ids, [completion.token_ids for completion in this.completions])
    return this.feedback


def prompt_of(row: PromptRow) -> str | list[dict[str, Any]]:
    """Return the prompt of a row in TRL's form: text, or a list of messages."""
    return row.prompt if isinstance(row.prompt, str) else [dict(message) for message in row.prompt]


def is_plain(row: PromptRow) -> bool:
    """Whether a row is only a prompt, as in upstream's datasets, so that TRL builds its query."""
    return row.tests is None and not row.canonical_solution and not row.starter_code


def reward_rows(completions: Sequence[Completion], executions: Sequence[Execution | None]) -> list[dict[str, Any]]:
    """Return the columns that reward functions get, one mapping per completion. All have the same keys."""
    columns = reward_columns(completions, executions)
    names = [name for name in columns if name not in _UPSTREAM_ADDS]
    return [{name: columns[name][number] for name in names} for number in range(len(completions))]


def reward_texts(completions: Sequence[Completion], decoded: Sequence[Any]) -> list[Any]:
    """
    Return the completions that reward functions get: what was sampled, as text or, for chats, as a message.

    With some tokenizers TRL puts the code prefix in front (`parse_response`). Where the row is only a prompt, what
    TRL `decoded` stays.
    """
    pairs = zip(completions, decoded, strict=True)
    return [given if is_plain(one.start.row) else reward_completion(one) for one, given in pairs]


def logged_columns(this: Round) -> dict[str, list[Any]]:
    """Return the columns that the log of completions gets beside those of TRL."""
    return {
        "task_id": [start.row.task_id for start in this.starts],
        "stage": [None if start.stage is None else start.stage.stage for start in this.starts],
        "outcome": [None if one is None else one.outcome.value for one in this.executions],
    }


def judge(
    this: Round,
    rewards: torch.Tensor,
    weights: torch.Tensor,
    size: int,
    args: StepCoderGRPOConfig,
    process: Accelerator,
) -> torch.Tensor:
    """
    Note which completions are scored and what their groups tell. Returns the rewards that TRL goes on with.

    A program that the sandbox failed to run has no score, even if another reward scored it.

    Args:
        this (`Round`): Record of the round.
        rewards (`torch.Tensor` of shape `(N, F)`): Reward of each function for the completions of all processes.
        weights (`torch.Tensor` of shape `(F,)`): Weight of each function.
        size (`int`): Completions of a group.
        args ([`StepCoderGRPOConfig`]): Configuration, whose `curriculum_pass_score` a completion without tests passes.
        process ([`~accelerate.Accelerator`]): This process.

    Returns:
        `torch.Tensor` of shape `(N, F)`: Rewards, the group's mean for completions without a score.
    """
    number = len(this.starts)
    mine = slice(process.process_index * number, (process.process_index + 1) * number)
    runs = zip(this.starts, this.executions, strict=True)
    lost = [start.row.tests is not None and execution is None for start, execution in runs]
    rewards = rewards.masked_fill(process.gather(torch.tensor(lost, device=rewards.device))[:, None], math.nan)
    scores = total_scores(rewards, weights)
    this.scores = tuple(None if math.isnan(score) else score for score in scores[mine].tolist())
    this.results = gather_object(stage_results(this.starts, this.executions, this.scores, args.curriculum_pass_score))
    this.groups = make_groups(this.results, scores.tolist(), size)
    return fill_unscored(rewards, scores.isnan(), size)


def mask_tokens(this: Round, args: StepCoderGRPOConfig, weight: float, process: Accelerator) -> Totals:
    """
    Take the tokens that did not run, unscored completions and dropped groups out of the loss of `this.result`.

    With FGO per test, advantages become those of the tests that ran each token. `weight` is that of compiler feedback.
    Returns the sums of its metrics.
    """
    rule, number, size = args.mask_rule(args.seed), len(this.starts), len(this.results) // len(this.groups)
    first, rule_of_groups = process.process_index * number, args.uninformative_groups
    groups = [this.groups[place // size] for place in range(first, first + number)]
    pairs = zip(this.scores, groups, strict=True)
    this.used = tuple(score is not None and not group.is_dropped(rule_of_groups) for score, group in pairs)
    masks = loss_masks(this.completions, this.executions, rule, this.number)
    kept = pad_masks(masks, this.result["completion_ids"])
    used = torch.tensor(this.used, device=kept.device)
    valid = this.result["completion_mask"].bool() & used[:, None]
    this.loss_mask = kept = kept & valid
    credit = add_credit(this, rule, args, weight, process) if rule.is_per_test else None
    mask_result(this.result, used, kept, args.fgo_denominator, lambda mask: process.gather(mask.sum()).sum())
    return {
        "fgo/kept_share": (kept.sum().item(), valid.sum().item()),
        "fgo/empty_share": ((valid.any(1) & ~kept.any(1)).sum().item(), valid.any(1).sum().item()),
        **credit_totals(credit, kept),
    }


def add_credit(this: Round, rule: MaskRule, args: StepCoderGRPOConfig, weight: float, process: Accelerator) -> Credit:
    """
    Replace the advantages of `this.result`, of shape `(B,)`, by those of the tests that ran each token, `(B, T)`.

    `A_it = kappa_it A_i + d_it`, which is `(1 / J) sum_j c_ijt (r_ij - m_j)` where compiler feedback is the only
    reward. `m_j` is the mean of test `j` over the scored completions of the group.
    """
    number, size = len(this.starts), len(this.results) // len(this.groups)
    pairs = zip(this.scores, this.executions, strict=True)
    mine = [(score, None if score is None or run is None else scores_of_tests(run)) for score, run in pairs]
    everywhere: list[tuple[float | None, list[float] | None]] = gather_object(mine)
    groups = [everywhere[first : first + size] for first in range(0, len(everywhere), size)]
    scales = advantage_scales([[score for score, _ in group] for group in groups], args.scale_rewards or "none")
    found = [
        values
        for group, scale in zip(groups, scales, strict=True)
        for values in deviations_from_group([scores for _, scores in group], weight, scale)
    ]
    first = process.process_index * number
    executions = [None if score is None else run for score, run in zip(this.scores, this.executions, strict=True)]
    like = this.result["completion_ids"]
    credit = tests_credit(this.completions, executions, found[first : first + number], rule, this.number, like)
    this.result["advantages"] = this.result["advantages"][:, None] * credit.shares + credit.deviations
    return credit


def note_metrics(
    this: Round, metrics: dict[str, list[float]], totals: Totals, stages: Sequence[int], process: Accelerator
) -> None:
    """
    Add a round to the metrics of training or of the evaluation, of which TRL logs means.

    `totals` are sums of this process. `stages` are those of the training set.
    """
    size = len(this.results) // len(this.groups)
    by_group = training_metrics(this.groups, stages) if this.training else evaluation_metrics(this.groups, size)
    for name, values in by_group.items():
        metrics[name].extend(values)
    for name, value in reduce_totals(totals, process.device, lambda sums: process.reduce(sums, "sum")).items():
        metrics[name].append(value)


def means(logged: Mapping[str, float], prefix: str) -> dict[str, float]:
    """Return pass rates and mean reward of an evaluation under its own prefix. TRL logs all as `eval_`."""
    found = {name: value for name, value in logged.items() if name.startswith("eval_pass@") or name == "eval_reward"}
    return {f"{prefix}{name[4:]}": value for name, value in found.items()}


def move_curriculum(
    this: Round, curriculum: Curriculum | None, metrics: dict[str, list[float]], process: Accelerator
) -> None:
    """Report each group's share of passing completions, to the same curriculum on every process."""
    if curriculum is not None:
        report_shares(curriculum, this.results)
        check_identical("The curriculum", curriculum.digest(), process.num_processes)
        metrics.update({name: [value] for name, value in curriculum.summary().items()})


def mask_result(
    result: dict[str, Any],
    used: torch.Tensor,
    kept: torch.Tensor,
    denominator: FgoDenominator,
    count: Callable[[torch.Tensor], torch.Tensor],
) -> None:
    """
    Take tokens out of the loss of a round's result. Nothing changes where no process takes one out.

    With the denominator `"kept"` the mask is `tool_mask`, which TRL multiplies with `completion_mask` in the loss
    alone. With `"valid"` the mask is that of the `used` rows, and masked tokens get an advantage of 0.

    Args:
        result (`dict`): What TRL trains on. It is changed.
        used (`torch.Tensor` of shape `(B,)`): `True` at completions in the loss.
        kept (`torch.Tensor` of shape `(B, T)`): `True` at tokens in the policy loss.
        denominator (`str`): `"kept"` or `"valid"`.
        count (`Callable`): Sums a mask over all processes.
    """
    valid = result["completion_mask"].bool()
    kept = kept & valid & used[:, None]
    if not count(valid & ~kept):
        return
    mask = kept if denominator == "kept" else valid & used[:, None]
    result["tool_mask"] = mask.to(result["completion_mask"].dtype)
    result["num_items_in_batch"] = count(mask).clamp(min=1)
    advantages = result["advantages"]
    per_token = advantages.dim() == 2
    result["advantages"] = advantages.masked_fill(~used[:, None] if per_token else ~used, 0.0)
    if denominator == "valid":
        result["advantages"] = (result["advantages"] if per_token else result["advantages"][:, None]) * kept
