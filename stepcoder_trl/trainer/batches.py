"""Batches: sizes of a run, rows of each update, and micro-batches of completions of like length."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from typing import Any

import torch
from torch.utils.data import Sampler

from stepcoder_trl.errors import BadInputError
from stepcoder_trl.evaluation.generation import Generation


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


def join_sequences(
    query_ids: torch.Tensor, query_mask: torch.Tensor, response_ids: torch.Tensor, lengths: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Queries with their responses, and their attention mask, both of shape `(B, Q + T)`."""
    response_mask = torch.arange(response_ids.shape[1], device=lengths.device)[None] < lengths[:, None]
    return torch.cat([query_ids, response_ids], 1), torch.cat([query_mask, response_mask], 1)
