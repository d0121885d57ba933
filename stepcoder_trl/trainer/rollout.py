"""What the steps of an update hand to each other: problems, samples, completions, scores, masks."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import count
from typing import Any

import torch
from torch.utils.data import Sampler

from stepcoder_trl.curriculum import Stage
from stepcoder_trl.errors import BadInputError
from stepcoder_trl.evaluation.generation import Generation
from stepcoder_trl.masking import completion_loss_mask, random_token_mask
from stepcoder_trl.rewards import error_lines
from stepcoder_trl.steps.queries import Query
from stepcoder_trl.steps.rows import PromptRow
from stepcoder_trl.tokens import TokenizedText
from stepcoder_trl.types import Execution, Outcome, Program


RewardFunc = Callable[..., Sequence[float | None]]


class PromptSampler(Sampler[list[int]]):
    """
    Rows of each update, for one process.

    Each epoch is a fresh permutation; what does not fill an update at its end is left out. Every prompt comes
    `num_generations` times in a row. Processes take consecutive parts of that list, so that the samples of a prompt
    stay on one process where the numbers allow. Depends on nothing but its arguments: the number of the update is all
    there is to save.

    Args:
        num_rows (`int`):
            Rows of the training set.
        plan ([`BatchPlan`]):
            Sizes.
        rank (`int`):
            Number of this process.
        seed (`int`):
            Seed, the same on every process.
        start (`int`, *optional*, defaults to `0`):
            Update to begin with.
    """

    def __init__(self, num_rows: int, plan: BatchPlan, rank: int, seed: int, start: int = 0) -> None:
        self.num_rows, self.plan, self.rank, self.seed, self.start = num_rows, plan, rank, seed, start

    def indices(self, update: int) -> list[int]:
        """Rows of one update."""
        epoch, position = divmod(update, self.plan.updates_per_epoch)
        generator = torch.Generator().manual_seed(self.seed + epoch)
        order = torch.randperm(self.num_rows, generator=generator).tolist()
        prompts = order[position * self.plan.prompts_per_update :][: self.plan.prompts_per_update]
        samples = [row for row in prompts for _ in range(self.plan.num_generations)]
        return samples[self.rank * self.plan.local_batch_size :][: self.plan.local_batch_size]

    def __iter__(self) -> Iterator[list[int]]:
        return (self.indices(update) for update in count(self.start))


@dataclass(frozen=True)
class BatchPlan:
    """
    Sizes of a run. Batches count completions.

    Attributes:
        num_generations (`int`): Completions per prompt.
        micro_batch_size (`int`): Per process and forward pass.
        local_mini_batch_size (`int`): Per process and optimizer step.
        local_batch_size (`int`): Per process and update.
        batch_size (`int`): Of all processes per update.
        accumulation_steps (`int`): Micro-batches per optimizer step.
        prompts_per_update (`int`): Of all processes.
        updates_per_epoch (`int`): Whole updates that the training set fills once.
        num_updates (`int`): Of the run.
    """

    num_generations: int
    micro_batch_size: int
    local_mini_batch_size: int
    local_batch_size: int
    batch_size: int
    accumulation_steps: int
    prompts_per_update: int
    updates_per_epoch: int
    num_updates: int


def plan_batches(args: Any, num_rows: int, num_generations: int, num_processes: int) -> BatchPlan:
    """
    Work out the sizes of a run.

    Args:
        args ([`StepCoderPPOConfig`]):
            Configuration.
        num_rows (`int`):
            Rows of the training set.
        num_generations (`int`):
            Completions per prompt.
        num_processes (`int`):
            Processes that train.

    Returns:
        [`BatchPlan`]

    Raises:
        BadInputError: If the global batch is not a multiple of `num_generations`, the training set does not fill an
            update, or there is no whole update to do.
    """
    local = args.per_device_train_batch_size * args.gradient_accumulation_steps
    total = local * num_processes
    sizes = (
        f"`per_device_train_batch_size` {args.per_device_train_batch_size} x `gradient_accumulation_steps` "
        f"{args.gradient_accumulation_steps} x {num_processes} processes = {total} completions"
    )
    if total % num_generations:
        below, above = total // num_generations * num_generations, -(-total // num_generations) * num_generations
        nearest = f"{below} and {above}" if below else str(above)
        raise BadInputError(
            f"{sizes} per update, which is not a multiple of `num_generations`, {num_generations}. The nearest that "
            f"fit: {nearest}. Change one of the three."
        )
    prompts = total // num_generations
    if num_rows < prompts:
        raise BadInputError(
            f"`train_dataset` has {num_rows} usable rows, but an update takes {prompts} prompts: {sizes}, "
            f"{num_generations} per prompt. Lower the batch, raise `num_generations`, or add rows."
        )
    per_epoch = num_rows // prompts
    episodes = args.total_episodes
    updates = int(args.num_train_epochs * per_epoch) if episodes is None else episodes // total
    if args.max_steps > 0:
        updates = args.max_steps if episodes is None else min(updates, args.max_steps)
    if updates < 1:
        raise BadInputError(
            f"`total_episodes` {episodes}, `num_train_epochs` {args.num_train_epochs} leave no whole update: {sizes}. "
            "Raise one of them or lower the batch."
        )
    return BatchPlan(
        num_generations=num_generations,
        micro_batch_size=args.per_device_train_batch_size,
        local_mini_batch_size=local // args.num_mini_batches,
        local_batch_size=local,
        batch_size=total,
        accumulation_steps=args.gradient_accumulation_steps // args.num_mini_batches,
        prompts_per_update=prompts,
        updates_per_epoch=per_epoch,
        num_updates=updates,
    )


@dataclass(frozen=True)
class Sample:
    """
    One completion to be drawn.

    Attributes:
        row (`PromptRow`): Problem.
        stage (`Stage` or `None`): Where it starts, `None` without a curriculum.
        query (`Query`): What the model is shown.
        number (`int`): Place in the global batch: names the sample for seeds.
    """

    row: PromptRow
    stage: Stage | None
    query: Query
    number: int


@dataclass(frozen=True)
class Rollout:
    """
    Completions of one update, on one process.

    Attributes:
        samples (`tuple[Sample, ...]`): What was asked for, `B` of them.
        generation (`Generation`): Tokens.
        completions (`tuple[TokenizedText, ...]`): Text of each completion, and where its tokens stand in it.
        programs (`tuple[Program, ...]`): Program of each completion.
    """

    samples: tuple[Sample, ...]
    generation: Generation
    completions: tuple[TokenizedText, ...]
    programs: tuple[Program, ...]


@dataclass(frozen=True)
class TokenScores:
    """
    What the models say about the sampled tokens.

    Attributes:
        log_probs (`torch.Tensor` of shape `(B, T)`): Under the policy that sampled, at its temperature.
        ref_log_probs (`torch.Tensor` of shape `(B, T)`): Under the reference, at the same temperature.
        values (`torch.Tensor` of shape `(B, T)`): Of the critic, before each token.
    """

    log_probs: torch.Tensor
    ref_log_probs: torch.Tensor
    values: torch.Tensor


@dataclass(frozen=True)
class Feedback:
    """
    What running the programs gave.

    Attributes:
        executions (`tuple[Execution | None, ...]`): `None` without tests, or when it could not be run.
        infrastructure_errors (`int`): Programs that could not be run for a reason that is ours.
        wait_s (`float`): Seconds that training stood still for it.
        programs_per_s (`float`): From the first submission to the last result.
        first_error (`str`): What one of the infrastructure errors says, empty without any.
        dropped_passes (`int`): Passes that were left out because their verdict could have been forged.
    """

    executions: tuple[Execution | None, ...]
    infrastructure_errors: int = 0
    wait_s: float = 0.0
    programs_per_s: float = 0.0
    first_error: str = ""
    dropped_passes: int = 0

    def without_untrusted_passes(self) -> Feedback:
        """The same, with untrusted passes left out like programs that could not be run."""
        kept = tuple(None if one is not None and one.is_untrusted_pass else one for one in self.executions)
        return replace(self, executions=kept, dropped_passes=kept.count(None) - self.executions.count(None))


@dataclass(frozen=True)
class Scores:
    """
    Score of each completion.

    Attributes:
        scores (`torch.Tensor` of shape `(B,)`): Weighted sum, penalty and clip applied; 0 where there is none.
        scored (`torch.Tensor` of shape `(B,)`): Whether there is one.
        by_source (`Mapping[str, tuple[float | None, ...]]`): Before weights, by name of the reward function.
    """

    scores: torch.Tensor
    scored: torch.Tensor
    by_source: Mapping[str, tuple[float | None, ...]]


@dataclass(frozen=True)
class Rewards:
    """
    Reward of each token.

    Attributes:
        kl (`torch.Tensor` of shape `(B, T)`): KL estimates, 0 beyond the valid tokens.
        rewards (`torch.Tensor` of shape `(B, T)`): KL penalty, and at the last valid token the score.
    """

    kl: torch.Tensor
    rewards: torch.Tensor


@dataclass(frozen=True)
class MicroBatch:
    """
    Some completions, without the columns that are padding in all of them.

    Attributes:
        rows (`torch.Tensor` of shape `(b,)`): Places of these completions among all.
        query_ids (`torch.Tensor` of shape `(b, q)`): Queries, padded on the left.
        query_mask (`torch.Tensor` of shape `(b, q)`): `True` where a query token stands.
        response_ids (`torch.Tensor` of shape `(b, t)`): Sampled tokens, padded on the right.
        lengths (`torch.Tensor` of shape `(b,)`): Sampled tokens per row.
    """

    rows: torch.Tensor
    query_ids: torch.Tensor
    query_mask: torch.Tensor
    response_ids: torch.Tensor
    lengths: torch.Tensor

    def sequences(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Queries with their responses, and their attention mask, both of shape `(b, q + t)`."""
        return join_sequences(self.query_ids, self.query_mask, self.response_ids, self.lengths)


def by_length(query_mask: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
    """Places of the completions from the shortest sequence to the longest, equal ones in their order."""
    return (query_mask.sum(1) + lengths).argsort(stable=True)


def micro_batches(generation: Generation, size: int) -> Iterator[MicroBatch]:
    """Completions of like length together, `size` at a time: little padding goes through the models."""
    for rows in by_length(generation.query_mask, generation.lengths).split(size):
        lengths, mask = generation.lengths[rows], generation.query_mask[rows]
        width = int(mask.sum(1).max())
        response_ids = generation.response_ids[rows, : int(lengths.max())]
        yield MicroBatch(rows, generation.query_ids[rows, -width:], mask[:, -width:], response_ids, lengths)


@dataclass(frozen=True)
class Experience:
    """
    Everything an update trains on.

    Attributes:
        query_ids (`torch.Tensor` of shape `(B, Q)`): Queries, padded on the left.
        query_mask (`torch.Tensor` of shape `(B, Q)`): `True` where a query token stands.
        response_ids (`torch.Tensor` of shape `(B, T)`): Sampled tokens, padded on the right.
        lengths (`torch.Tensor` of shape `(B,)`): Sampled tokens per row.
        valid_mask (`torch.Tensor` of shape `(B, T)`): Tokens of scored completions: value loss.
        loss_mask (`torch.Tensor` of shape `(B, T)`): The kept ones among them: policy loss.
        log_probs (`torch.Tensor` of shape `(B, T)`): Under the policy that sampled.
        values (`torch.Tensor` of shape `(B, T)`): Of the critic at that time.
        advantages (`torch.Tensor` of shape `(B, T)`): Advantages.
        returns (`torch.Tensor` of shape `(B, T)`): Targets of the critic.
    """

    query_ids: torch.Tensor
    query_mask: torch.Tensor
    response_ids: torch.Tensor
    lengths: torch.Tensor
    valid_mask: torch.Tensor
    loss_mask: torch.Tensor
    log_probs: torch.Tensor
    values: torch.Tensor
    advantages: torch.Tensor
    returns: torch.Tensor

    def select(self, indices: torch.Tensor) -> Experience:
        """Rows at `indices`, without the columns that are padding in all of them."""
        length = int(self.lengths[indices].max())
        query_length = int(self.query_mask[indices].sum(1).max())
        parts: dict[str, torch.Tensor] = {"lengths": self.lengths[indices]}
        for name in ("query_ids", "query_mask"):
            parts[name] = getattr(self, name)[indices, -query_length:]
        for name in ("response_ids", "valid_mask", "loss_mask", "log_probs", "values", "advantages", "returns"):
            parts[name] = getattr(self, name)[indices, :length]
        return Experience(**parts)

    def sequences(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Queries with their responses, and their attention mask, both of shape `(B, Q + T)`."""
        return join_sequences(self.query_ids, self.query_mask, self.response_ids, self.lengths)


def join_sequences(
    query_ids: torch.Tensor, query_mask: torch.Tensor, response_ids: torch.Tensor, lengths: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Queries with their responses, and their attention mask, both of shape `(B, Q + T)`."""
    response_mask = torch.arange(response_ids.shape[1], device=lengths.device)[None] < lengths[:, None]
    return torch.cat([query_ids, response_ids], 1), torch.cat([query_mask, response_mask], 1)


def reward_name(func: Any) -> str:
    """Name of a reward function in metrics and errors."""
    return str(func.__name__ if inspect.isroutine(func) else type(func).__name__)


def reward_columns(rollout: Rollout, feedback: Feedback) -> dict[str, list[Any]]:
    """Keyword arguments of a reward function: one list per column of the dataset, and what the rollout adds."""
    rows = [sample.row for sample in rollout.samples]
    names = list(dict.fromkeys(name for row in rows for name in row.columns))
    return {
        **{name: [row.columns.get(name) for row in rows] for name in names},
        "prompts": [
            sample.query.text if sample.row.token_ids is not None else sample.row.prompt for sample in rollout.samples
        ],
        "completions": [completion.text for completion in rollout.completions],
        "completion_ids": rollout.generation.completion_ids(),
        "task_id": [row.task_id for row in rows],
        "prefix": [sample.query.prefix for sample in rollout.samples],
        "program": [program.text for program in rollout.programs],
        "execution": list(feedback.executions),
    }


def call_reward(func: RewardFunc, columns: Mapping[str, Any]) -> tuple[float | None, ...]:
    """
    Call a reward function and check what it returns.

    Raises:
        BadInputError: If it does not return one value per completion, or an infinite one.
    """
    values = list(func(**columns))
    if len(values) != len(columns["completions"]):
        raise BadInputError(
            f"The reward function `{reward_name(func)}` returned {len(values)} values for "
            f"{len(columns['completions'])} completions. Return one per completion, `None` for one without a score."
        )
    return checked_scores(reward_name(func), values)


def checked_scores(name: str, values: Sequence[float | None]) -> tuple[float | None, ...]:
    """
    Scores as they enter the sum: NaN is no score, as in TRL's other trainers.

    Args:
        name (`str`):
            Reward function, for the error.
        values (`Sequence[float | None]`):
            What it returned.

    Returns:
        `tuple[float | None, ...]`

    Raises:
        BadInputError: If a score is infinite.
    """
    scores = [math.nan if value is None else float(value) for value in values]
    for number, score in enumerate(scores):
        if math.isinf(score):
            raise BadInputError(
                f"`{name}` gave {score} for completion {number}, but a score must be finite. Return `None` for a "
                "completion without a score."
            )
    return tuple(None if math.isnan(score) else score for score in scores)


def combine_scores(by_source: Mapping[str, Sequence[float | None]], weights: Sequence[float]) -> list[float | None]:
    """
    Weighted sum of each completion's scores; sources without a score for it are left out.

    Args:
        by_source (`Mapping[str, Sequence[float | None]]`):
            Scores, one sequence per source.
        weights (`Sequence[float]`):
            Weight of each source, in the same order.

    Returns:
        `list[float | None]`: `None` where no source has a score.
    """
    combined: list[float | None] = []
    for values in zip(*by_source.values(), strict=True):
        parts = [weight * value for weight, value in zip(weights, values, strict=True) if value is not None]
        combined.append(sum(parts) if parts else None)
    return combined


def kept_lines(execution: Execution, compile_error_mask: str) -> frozenset[int]:
    """Lines of the program whose tokens Fine-Grained Optimization keeps."""
    error_line = execution.tests[0].error_line if execution.tests else None
    if compile_error_mask == "up_to_error_line" and execution.outcome is Outcome.COMPILE_ERROR and error_line:
        return frozenset(range(1, error_line + 1))
    return execution.kept_lines


def sample_loss_mask(
    completion: TokenizedText,
    program: Program,
    execution: Execution | None,
    *,
    fgo: str = "lines",
    outside_program: bool = True,
    compile_error_mask: str = "all",
) -> list[bool]:
    """
    Mark the tokens of a completion that take part in the policy loss.

    Args:
        completion (`TokenizedText`):
            Completion, `T` sampled tokens.
        program (`Program`):
            What was run of it.
        execution (`Execution` or `None`):
            Result; without one every token is kept.
        fgo (`str`, *optional*, defaults to `"lines"`):
            `"off"` keeps every token; anything else those that ran.
        outside_program (`bool`, *optional*, defaults to `True`):
            Whether tokens outside the program are kept.
        compile_error_mask (`str`, *optional*, defaults to `"all"`):
            What is kept of a program that does not compile.

    Returns:
        `list[bool]`: Length `T`.

    Paper: StepCoder (arXiv:2402.01391), Fine-Grained Optimization.
    """
    if fgo == "off" or execution is None:
        return [True] * len(completion.spans)
    return completion_loss_mask(
        completion.spans,
        completion.text,
        program,
        kept_lines(execution, compile_error_mask),
        outside_program=outside_program,
    )


def loss_masks(rollout: Rollout, executions: Sequence[Execution | None], args: Any, step: int) -> list[list[bool]]:
    """
    Loss mask of every completion, as the configuration says.

    Args:
        rollout (`Rollout`):
            `B` completions.
        executions (`Sequence[Execution | None]`):
            Their results.
        args ([`StepCoderPPOConfig`]):
            `fgo`, `fgo_outside_program`, `compile_error_mask` and `seed`.
        step (`int`):
            Update, counted from 0: `fgo="random"` depends on it.

    Returns:
        `list[list[bool]]`: One list per completion, as long as that.
    """
    masks = []
    rows = zip(rollout.samples, rollout.completions, rollout.programs, executions, strict=True)
    for sample, completion, program, execution in rows:
        mask = sample_loss_mask(
            completion,
            program,
            execution,
            fgo=args.fgo,
            outside_program=args.fgo_outside_program,
            compile_error_mask=args.compile_error_mask,
        )
        if args.fgo == "random":
            task_id = sample.row.task_id
            mask = random_token_mask(
                mask, completion.spans, program, seed=args.seed, task_id=task_id, step=step, sample=sample.number
            )
        masks.append(mask)
    return masks


def error_masks(rollout: Rollout, executions: Sequence[Execution | None]) -> list[list[bool]]:
    """
    Tokens of the lines that RLTF's fine-grained feedback blames, in the model's part of each program.

    Args:
        rollout (`Rollout`):
            `B` completions.
        executions (`Sequence[Execution | None]`):
            Their results.

    Returns:
        `list[list[bool]]`: One list per completion, as long as that.
    """
    masks = []
    for completion, program, execution in zip(rollout.completions, rollout.programs, executions, strict=True):
        lines = frozenset[int]() if execution is None else error_lines(program.text, execution)
        masks.append(
            completion_loss_mask(completion.spans, completion.text, program, lines, outside_program=False)
            if lines
            else [False] * len(completion.spans)
        )
    return masks


def group_shares(results: Sequence[tuple[str, int, bool | None]]) -> list[tuple[str, int, float | None]]:
    """
    Share of passing samples of each group.

    Args:
        results (`Sequence[tuple[str, int, bool | None]]`):
            Of each sample of all processes: task, stage, and whether it passed, `None` if not scored.

    Returns:
        `list[tuple[str, int, float | None]]`: Task, stage and share of each group in order of appearance; the share is
        `None` when nothing of the group was scored.
    """
    groups: dict[tuple[str, int], list[bool]] = {}
    for task_id, stage, passed in results:
        group = groups.setdefault((task_id, stage), [])
        if passed is not None:
            group.append(passed)
    return [(task_id, stage, sum(group) / len(group) if group else None) for (task_id, stage), group in groups.items()]
