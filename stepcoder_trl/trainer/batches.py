"""Sizes of a run, the rows of each update, and micro-batches of completions of similar length."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count
from typing import Any

import torch
from torch.utils.data import Sampler

from stepcoder_trl.errors import BadInputError
from stepcoder_trl.evaluation.generation import Generation
from stepcoder_trl.trainer.ppo_math import length_mask
from stepcoder_trl.trainer.records import Experience
from stepcoder_trl.trainer.shared_options import sizes_that_fit, steps_of_whole_groups


class PromptSampler(Sampler[list[int]]):
    """
    Draws the rows of each update for one process, beginning with update `start`.

    Each epoch is a new permutation; rows that do not fill an update are left out. Each prompt is repeated
    `num_generations` times. Processes take consecutive parts of that list, so that the samples of a prompt stay on one
    process if the sizes allow it. The rows depend only on the arguments: a checkpoint stores the number of updates.
    """

    def __init__(self, num_rows: int, plan: BatchPlan, rank: int, seed: int, start: int = 0) -> None:
        self.num_rows, self.plan, self.rank, self.seed, self.start = num_rows, plan, rank, seed, start

    def indices(self, update: int) -> list[int]:
        """Return the rows of one update."""
        epoch, position = divmod(update, self.plan.updates_per_epoch)
        generator = torch.Generator().manual_seed(self.seed + epoch)
        order = torch.randperm(self.num_rows, generator=generator).tolist()
        prompts = order[position * self.plan.prompts_per_update :][: self.plan.prompts_per_update]
        samples = [row for row in prompts for _ in range(self.plan.num_generations)]
        return samples[self.rank * self.plan.local_batch_size :][: self.plan.local_batch_size]

    def __iter__(self) -> Iterator[list[int]]:
        return (self.indices(update) for update in count(self.start))


class ContinuedOrder(Sampler[int]):
    """
    Order of a sampler that draws a new permutation for each epoch, continued where a resumed run stopped.

    TRL's sampler begins a resumed run with the permutation of the first epoch. Transformers skips the batches of the
    current epoch alone.

    Args:
        sampler (`Sampler`): Sampler that draws a permutation when the first index of an epoch is asked for.
        epochs_done (`Callable`): Returns the number of whole epochs before the first one that is drawn.
    """

    def __init__(self, sampler: Any, epochs_done: Callable[[], int]) -> None:
        self._sampler, self._epochs_done, self._has_begun = sampler, epochs_done, False

    def __iter__(self) -> Iterator[int]:
        if not self._has_begun:
            self._has_begun = True
            for _ in range(self._epochs_done()):
                next(iter(self._sampler), None)
        yield from self._sampler

    def __len__(self) -> int:
        return len(self._sampler)


@dataclass(frozen=True)
class BatchPlan:
    """Sizes of a run. Batches count completions."""

    num_generations: int  # completions per prompt
    micro_batch_size: int  # per process and forward pass
    local_mini_batch_size: int  # per process and optimizer step
    local_batch_size: int  # per process and update
    batch_size: int  # per update, all processes together
    accumulation_steps: int  # micro-batches per optimizer step
    prompts_per_update: int  # all processes together
    updates_per_epoch: int  # whole updates that the training set fills once
    num_updates: int


def plan_batches(args: Any, num_rows: int, num_generations: int, num_processes: int) -> BatchPlan:
    """
    Compute the sizes of a run on a training set of `num_rows` rows.

    If `gradient_accumulation_steps` is `None`, an update is as few whole groups as possible.

    Raises:
        BadInputError: If the global batch is not a multiple of `num_generations`, the training set does not fill an
            update, or the run has no whole update.
    """
    per_device, steps = args.per_device_train_batch_size, args.gradient_accumulation_steps
    if steps is None:
        steps = steps_of_whole_groups(per_device, num_generations, num_processes, args.num_mini_batches)
    local = per_device * steps
    total = local * num_processes
    sizes = (
        f"`per_device_train_batch_size` {per_device} x `gradient_accumulation_steps` {steps} x {num_processes} "
        f"processes = {total} completions"
    )
    if total % num_generations:
        below, above = total // num_generations * num_generations, -(-total // num_generations) * num_generations
        nearest = f"{below} and {above}" if below else str(above)
        fix = sizes_that_fit(per_device, num_generations, num_processes, steps, args.num_mini_batches)
        raise BadInputError(
            f"{sizes} per update, which is not a multiple of `num_generations`, {num_generations}. The nearest that "
            f"fit: {nearest}. {fix}"
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
        micro_batch_size=per_device,
        local_mini_batch_size=local // args.num_mini_batches,
        local_batch_size=local,
        batch_size=total,
        accumulation_steps=steps // args.num_mini_batches,
        prompts_per_update=prompts,
        updates_per_epoch=per_epoch,
        num_updates=updates,
    )


def by_length(query_mask: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
    """Return the indices of the completions, sorted by the length of query and response. The sort is stable."""
    return (query_mask.sum(1) + lengths).argsort(stable=True)


def micro_batches(generation: Generation, size: int) -> Iterator[tuple[torch.Tensor, Generation]]:
    """Yield indices and tokens of `size` completions of similar length, without columns that are only padding."""
    for rows in by_length(generation.query_mask, generation.lengths).split(size):
        lengths, mask = generation.lengths[rows], generation.query_mask[rows]
        width = int(mask.sum(1).max())
        response_ids = generation.response_ids[rows, : int(lengths.max())]
        query_ids, stopped = generation.query_ids[rows, -width:], generation.stopped[rows]
        yield rows, Generation(query_ids, mask[:, -width:], response_ids, lengths, stopped)


def join_sequences(batch: Generation | Experience) -> tuple[torch.Tensor, torch.Tensor]:
    """Return queries with responses, and their attention mask. Both of shape `(B, Q + T)`."""
    response_mask = length_mask(batch.lengths, batch.response_ids.shape[1])
    ids = torch.cat([batch.query_ids, batch.response_ids], 1)
    return ids, torch.cat([batch.query_mask, response_mask], 1)
