from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from stepcoder_trl.evaluation.generation import Generation
from stepcoder_trl.trainer import batches
from stepcoder_trl.trainer.batches import BatchPlan, PromptSampler
from stepcoder_trl.trainer.records import Experience


TESTS = '{"type": "stdio", "inputs": [""], "outputs": ["1"]}'


def plan(**changes):
    sizes = {
        "num_generations": 2,
        "micro_batch_size": 2,
        "local_mini_batch_size": 4,
        "local_batch_size": 4,
        "batch_size": 4,
        "accumulation_steps": 2,
        "prompts_per_update": 2,
        "updates_per_epoch": 3,
        "num_updates": 5,
    }
    return BatchPlan(**{**sizes, **changes})


def arguments(**changes):
    sizes = {
        "per_device_train_batch_size": 4,
        "gradient_accumulation_steps": 4,
        "num_mini_batches": 2,
        "total_episodes": None,
        "num_train_epochs": 3.0,
        "max_steps": -1,
    }
    return SimpleNamespace(**{**sizes, **changes})


# Batches


@pytest.mark.parametrize(
    ("num_generations", "num_processes", "parts", "steps"),
    [(16, 1, 1, 4), (16, 2, 1, 2), (16, 1, 3, 12), (6, 1, 1, 3), (1, 1, 1, 1), (8, 4, 2, 2)],
)
def test_update_is_whole_groups_where_accumulation_is_not_given(num_generations, num_processes, parts, steps):
    args = arguments(gradient_accumulation_steps=None, num_mini_batches=parts)

    got = batches.plan_batches(args, 50, num_generations, num_processes)

    assert got.accumulation_steps * parts == steps
    assert got.batch_size == 4 * steps * num_processes == got.prompts_per_update * num_generations


def test_sizes_of_a_run():
    got = batches.plan_batches(arguments(), num_rows=20, num_generations=8, num_processes=2)

    # 4 x 4 x 2 = 32 completions of 4 prompts; 20 rows make 5 updates per epoch.
    assert got == BatchPlan(
        num_generations=8,
        micro_batch_size=4,
        local_mini_batch_size=8,
        local_batch_size=16,
        batch_size=32,
        accumulation_steps=2,
        prompts_per_update=4,
        updates_per_epoch=5,
        num_updates=15,
    )


@pytest.mark.parametrize(
    ("changes", "updates"),
    [
        ({"total_episodes": 100}, 6),  # 6 x 16 = 96: never more than asked for
        ({"max_steps": 7}, 7),
        ({"max_steps": 7, "total_episodes": 100}, 6),
        ({"max_steps": 2, "total_episodes": 100}, 2),
        ({"num_train_epochs": 0.5}, 5),
    ],
)
def test_number_of_updates(changes, updates):
    got = batches.plan_batches(arguments(**changes), num_rows=40, num_generations=4, num_processes=1)

    assert got.num_updates == updates


@pytest.mark.parametrize(
    ("changes", "rows", "parts"),
    [
        ({"gradient_accumulation_steps": 6}, 99, ["24 completions", "`num_generations`, 16", "16 and 32"]),
        ({"gradient_accumulation_steps": 2}, 99, ["8 completions", "fit: 16"]),
        ({"gradient_accumulation_steps": 16}, 3, ["3 usable rows", "takes 4 prompts"]),
        ({"total_episodes": 15}, 99, ["`total_episodes` 15", "16 completions"]),
    ],
)
def test_error_explains_sizes_that_do_not_fit(changes, rows, parts):
    with pytest.raises(ValueError) as error:
        batches.plan_batches(arguments(**changes), num_rows=rows, num_generations=16, num_processes=1)

    for part in parts:
        assert part in str(error.value)


def test_epoch_has_each_row_at_most_once_with_its_samples_in_a_row():
    sampler = PromptSampler(7, plan(), rank=0, seed=3)

    updates = [sampler.indices(number) for number in range(3)]

    assert all(a == b and c == d for a, b, c, d in updates)
    visited = [row for update in updates for row in update[::2]]
    assert len(set(visited)) == 6
    assert [sampler.indices(number) for number in range(3, 6)] != updates


def test_sampler_starts_at_the_given_update():
    all_updates = iter(PromptSampler(7, plan(), rank=0, seed=3))
    later = iter(PromptSampler(7, plan(), rank=0, seed=3, start=4))
    for _ in range(4):
        next(all_updates)

    assert [next(later) for _ in range(5)] == [next(all_updates) for _ in range(5)]


@pytest.mark.parametrize(("num_generations", "local", "processes"), [(2, 4, 2), (4, 2, 2), (3, 2, 3)])
def test_processes_get_consecutive_parts_of_an_update(num_generations, local, processes):
    total = local * processes
    sizes = plan(
        num_generations=num_generations,
        local_batch_size=local,
        batch_size=total,
        prompts_per_update=total // num_generations,
    )
    alone = replace(sizes, local_batch_size=total)

    parts = [PromptSampler(9, sizes, rank, seed=0).indices(1) for rank in range(processes)]

    assert [row for part in parts for row in part] == PromptSampler(9, alone, 0, seed=0).indices(1)
    if local % num_generations == 0:
        assert all(part.count(row) == num_generations for part in parts for row in part)


# Micro-batches


def experience():
    lengths, queries = torch.tensor([1, 3, 2]), torch.tensor([2, 1, 1])
    ids = torch.arange(9).reshape(3, 3)
    mask = torch.arange(3)[None] >= 3 - queries[:, None]
    valid = torch.arange(3)[None] < lengths[:, None]
    return Experience(ids, mask, ids + 10, lengths, valid, valid, *(ids + 100.0 * k for k in range(1, 5)))


def test_micro_batch_has_no_column_of_padding_alone():
    batch = experience().select(torch.tensor([2, 0]))

    ids, mask = batches.join_sequences(batch)

    assert ids.tolist() == [[7, 8, 16, 17], [1, 2, 10, 11]]
    assert mask.tolist() == [[False, True, True, True], [True, True, True, False]]
    assert batch.returns.tolist() == [[406.0, 407.0], [400.0, 401.0]]


def test_micro_batch_has_completions_of_similar_length():
    full = experience()
    made = Generation(full.query_ids, full.query_mask, full.response_ids, full.lengths, full.lengths > 0)

    parts = list(batches.micro_batches(made, 2))

    assert (made.query_mask.sum(1) + made.lengths).tolist() == [3, 4, 3]
    assert [rows.tolist() for rows, _ in parts] == [[0, 2], [1]]
    assert [batch.query_ids.tolist() for _, batch in parts] == [[[1, 2], [7, 8]], [[5]]]
    assert [batch.response_ids.tolist() for _, batch in parts] == [[[10, 11], [16, 17]], [[13, 14, 15]]]
