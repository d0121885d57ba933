"""With every part off, the trainer is TRL's `GRPOTrainer`, bit for bit."""

from __future__ import annotations

import pytest
import torch
from datasets import Dataset
from trl import GRPOConfig

from tests.integration.grpo.helpers import SMALL, history, letters, plain_trainer


TEXTS = [f"Write number {number} as a word." for number in range(6)]
CHATS = [[{"role": "user", "content": text}] for text in TEXTS]
OFF = {"curriculum": "off", "fgo": "off"}
RUN = {**SMALL, "max_steps": 4, "num_train_epochs": 4, "save_strategy": "no"}


def both(tokenizer, make_policy, tmp_path, make_trainer, rows, upstreams_rows=None, ours=None, **options):
    """Train with TRL's trainer and with ours. Return both."""
    args = GRPOConfig(output_dir=str(tmp_path / "theirs"), **{**RUN, **options})
    sets = {} if "eval_strategy" not in options else {"eval_dataset": Dataset.from_list(rows[:4])}
    theirs = plain_trainer(
        make_policy(), tokenizer, args, Dataset.from_list(upstreams_rows or rows), reward_funcs=letters, **sets
    )
    theirs.train()
    given = {"reward_funcs": letters, "eval_dataset": rows[:4] if sets else None}
    mine = make_trainer(dataset=rows, keywords=given, **{**RUN, **options, **(ours or {})})
    mine.train()
    return theirs, mine


def assert_equal(theirs, mine):
    assert len(history(theirs)) >= 4
    for expected, found in zip(history(theirs), history(mine), strict=True):
        assert {name: found[name] for name in expected} == expected
    for (name, expected), (_, found) in zip(
        theirs.model.named_parameters(), mine.model.named_parameters(), strict=True
    ):
        assert torch.equal(expected, found), name


@pytest.mark.parametrize("prompts", [TEXTS, CHATS], ids=["text", "chat"])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"num_iterations": 2},
        {"loss_type": "grpo", "scale_rewards": "batch", "mask_truncated_completions": True},
        {"eval_strategy": "steps", "eval_steps": 2, "num_generations_eval": 2, "per_device_eval_batch_size": 4},
    ],
    ids=["plain", "two-iterations", "truncated-masked", "evaluation"],
)
def test_rows_with_a_prompt_alone_train_as_by_upstream(
    tokenizer, make_policy, tmp_path, make_trainer, prompts, options
):
    rows = [{"prompt": prompt, "length": 3} for prompt in prompts]

    assert_equal(*both(tokenizer, make_policy, tmp_path, make_trainer, rows, **options))


@pytest.mark.sandbox
def test_problems_with_all_parts_off_train_as_by_upstream(tokenizer, make_policy, tmp_path, make_trainer, problems):
    rows = [problem.to_row() for problem in problems]
    texts = [{"prompt": (row["prompt"] + row["starter_code"]).rstrip()} for row in rows]

    theirs, mine = both(tokenizer, make_policy, tmp_path, make_trainer, rows, texts, OFF)

    assert_equal(theirs, mine)
    assert all(one.feedback.executions.count(None) == 0 for one in mine.seen)
