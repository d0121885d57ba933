from __future__ import annotations

import math
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from stepcoder_trl.evaluation.generation import Generation
from stepcoder_trl.parsing import extract_program
from stepcoder_trl.steps.queries import Query
from stepcoder_trl.steps.rows import PromptRow
from stepcoder_trl.tokens import token_texts
from stepcoder_trl.trainer import rollout as steps
from stepcoder_trl.trainer.rollout import BatchPlan, Experience, Feedback, PromptSampler, Rollout, Sample
from stepcoder_trl.types import Execution, Outcome, TestResult


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


def execution(outcome=Outcome.FAILED, kept=(), error_line=None):
    test = TestResult(outcome, error_line=error_line)
    return Execution(outcome, (test,), frozenset(kept), frozenset(kept), 0.0, True)


# Batches


def test_sizes_of_a_run():
    got = steps.plan_batches(arguments(), num_rows=20, num_generations=8, num_processes=2)

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
    got = steps.plan_batches(arguments(**changes), num_rows=40, num_generations=4, num_processes=1)

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
def test_sizes_that_do_not_fit_are_explained(changes, rows, parts):
    with pytest.raises(ValueError) as error:
        steps.plan_batches(arguments(**changes), num_rows=rows, num_generations=16, num_processes=1)

    for part in parts:
        assert part in str(error.value)


def test_an_epoch_visits_each_row_at_most_once_and_samples_of_a_prompt_are_neighbours():
    sampler = PromptSampler(7, plan(), rank=0, seed=3)

    updates = [sampler.indices(number) for number in range(3)]

    assert all(a == b and c == d for a, b, c, d in updates)
    visited = [row for update in updates for row in update[::2]]
    assert len(set(visited)) == 6
    assert [sampler.indices(number) for number in range(3, 6)] != updates


def test_the_sampler_continues_where_it_is_told_to():
    all_updates = iter(PromptSampler(7, plan(), rank=0, seed=3))
    later = iter(PromptSampler(7, plan(), rank=0, seed=3, start=4))
    for _ in range(4):
        next(all_updates)

    assert [next(later) for _ in range(5)] == [next(all_updates) for _ in range(5)]


@pytest.mark.parametrize(("num_generations", "local", "processes"), [(2, 4, 2), (4, 2, 2), (3, 2, 3)])
def test_processes_divide_the_update_among_them(num_generations, local, processes):
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


# Scores


def test_weights_sum_the_scores_that_are_there():
    by_source = {"a": [1.0, None, 2.0, None], "b": [10.0, 10.0, None, None]}

    assert steps.combine_scores(by_source, [0.5, 2.0]) == [20.5, 20.0, 1.0, None]


def test_a_reward_function_must_return_one_value_per_completion():
    def short(completions, **columns):
        return [0.0]

    with pytest.raises(ValueError, match="`short` returned 1 values for 2 completions"):
        steps.call_reward(short, {"completions": ["a", "b"]})


@pytest.mark.parametrize("value", [math.nan, torch.tensor(math.nan)])
def test_not_a_number_is_no_score(value):
    assert steps.call_reward(lambda completions: [value, 1], {"completions": ["a", "b"]}) == (None, 1.0)


@pytest.mark.parametrize("value", [math.inf, -math.inf])
def test_an_infinite_score_is_refused(value):
    def judge(completions):
        return [0.0, value]

    with pytest.raises(ValueError, match=rf"`judge` gave {value} for completion 1"):
        steps.call_reward(judge, {"completions": ["a", "b"]})


def test_groups_keep_their_order_and_leave_out_what_was_not_scored():
    results = [("b", 1, True), ("a", 0, None), ("b", 1, None), ("b", 1, False), ("b", 0, True)]

    assert steps.group_shares(results) == [("b", 1, 0.5), ("a", 0, None), ("b", 0, 1.0)]


# Masks


@pytest.mark.parametrize(
    ("run", "rule", "lines"),
    [
        (execution(Outcome.FAILED, {1, 4}), "up_to_error_line", {1, 4}),
        (execution(Outcome.COMPILE_ERROR, {1, 2, 3}, error_line=2), "all", {1, 2, 3}),
        (execution(Outcome.COMPILE_ERROR, {1, 2, 3}, error_line=2), "up_to_error_line", {1, 2}),
        (execution(Outcome.COMPILE_ERROR, {1, 2, 3}), "up_to_error_line", {1, 2, 3}),
    ],
)
def test_lines_kept_of_a_program(run, rule, lines):
    assert steps.kept_lines(run, rule) == lines


def rollout_of(completion, prefix, tokenizer):
    ids = [*tokenizer(completion)["input_ids"], tokenizer.eos_token_id]
    query = Query("q", prefix, (5,))
    text = token_texts(ids, tokenizer)
    generation = Generation(
        query_ids=torch.tensor([[5]]),
        query_mask=torch.tensor([[True]]),
        response_ids=torch.tensor([ids]),
        lengths=torch.tensor([len(ids)]),
        stopped=torch.tensor([True]),
    )
    row = PromptRow("task", "prompt", columns={"prompt": "prompt", "level": 3})
    return Rollout((Sample(row, None, query, 0),), generation, (text,), (extract_program(text.text, prefix),))


def masked_text(rollout, mask):
    text = rollout.completions[0]
    return "".join(text.text[slice(*span)] for span, keep in zip(text.spans, mask, strict=True) if keep)


def fgo(**changes):
    settings = {
        "fgo": "lines",
        "fgo_outside_program": True,
        "compile_error_mask": "all",
        "seed": 0,
    }
    return SimpleNamespace(**{**settings, **changes})


def test_lines_that_did_not_run_are_masked(tokenizer):
    made = rollout_of("\n    if x:\n        return 1\n    return 0\n", "def f(x):", tokenizer)

    (mask,) = steps.loss_masks(made, [execution(kept={1, 2, 4})], fgo(), step=0)

    assert masked_text(made, mask).split() == ["if", "x:", "return", "0"]
    assert mask[-1]  # EOS


@pytest.mark.parametrize("settings", [{"fgo": "off"}, {}])
def test_without_fgo_or_without_an_execution_everything_is_kept(tokenizer, settings):
    made = rollout_of("\n    return 1\n", "def f():", tokenizer)
    run = execution(kept={1}) if settings else None

    (mask,) = steps.loss_masks(made, [run], fgo(**settings), step=0)

    assert all(mask)


def test_tokens_outside_the_program_can_be_left_out(tokenizer):
    made = rollout_of("\n    return 1\n", "def f():", tokenizer)

    (mask,) = steps.loss_masks(made, [execution(kept={1, 2})], fgo(fgo_outside_program=False), step=0)

    assert mask == [True] * (len(mask) - 1) + [False]


def test_the_control_keeps_as_many_tokens_elsewhere(tokenizer):
    made = rollout_of("\n    if x:\n        return 1\n    return 0\n", "def f(x):", tokenizer)
    run = execution(kept={1, 2, 4})

    (lines,) = steps.loss_masks(made, [run], fgo(), step=0)
    (drawn,) = steps.loss_masks(made, [run], fgo(fgo="random"), step=0)
    (again,) = steps.loss_masks(made, [run], fgo(fgo="random"), step=0)
    others = [steps.loss_masks(made, [run], fgo(fgo="random"), step=step)[0] for step in range(1, 6)]

    assert sum(drawn) == sum(lines)
    assert drawn == again
    assert any(other != drawn for other in others)


def test_untrusted_passes_are_left_out_and_counted():
    passed, failed = execution(), replace(execution(), outcome=Outcome.FAILED, trusted=False)
    forged = replace(execution(), outcome=Outcome.PASSED, trusted=False)

    feedback = Feedback((passed, forged, None, failed)).without_untrusted_passes()

    assert feedback == Feedback((passed, None, None, failed), dropped_passes=1)


def test_columns_of_a_reward_function(tokenizer):
    made = rollout_of(" return 1", "def f():", tokenizer)
    run = execution()

    columns = steps.reward_columns(made, Feedback((run,)))

    assert columns == {
        "level": [3],
        "prompt": ["prompt"],
        "prompts": ["prompt"],
        "completions": [" return 1"],
        "completion_ids": made.generation.completion_ids(),
        "task_id": ["task"],
        "prefix": ["def f():"],
        "program": ["def f(): return 1"],
        "execution": [run],
    }


# Micro-batches


def experience():
    lengths, queries = torch.tensor([1, 3, 2]), torch.tensor([2, 1, 1])
    ids = torch.arange(9).reshape(3, 3)
    mask = torch.arange(3)[None] >= 3 - queries[:, None]
    valid = torch.arange(3)[None] < lengths[:, None]
    return Experience(ids, mask, ids + 10, lengths, valid, valid, *(ids + 100.0 * k for k in range(1, 5)))


def test_a_micro_batch_has_no_column_of_nothing_but_padding():
    batch = experience().select(torch.tensor([2, 0]))

    ids, mask = batch.sequences()

    assert ids.tolist() == [[7, 8, 16, 17], [1, 2, 10, 11]]
    assert mask.tolist() == [[False, True, True, True], [True, True, True, False]]
    assert batch.returns.tolist() == [[406.0, 407.0], [400.0, 401.0]]


def test_micro_batches_put_completions_of_like_length_together():
    whole = experience()
    made = Generation(whole.query_ids, whole.query_mask, whole.response_ids, whole.lengths, whole.lengths > 0)

    batches = list(steps.micro_batches(made, 2))

    assert (made.query_mask.sum(1) + made.lengths).tolist() == [3, 4, 3]
    assert [batch.rows.tolist() for batch in batches] == [[0, 2], [1]]
    assert [batch.query_ids.tolist() for batch in batches] == [[[1, 2], [7, 8]], [[5]]]
    assert [batch.response_ids.tolist() for batch in batches] == [[[10, 11], [16, 17]], [[13, 14, 15]]]
