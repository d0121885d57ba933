"""Runs that are refused, and problems that are left out."""

from __future__ import annotations

import logging

import pytest

from stepcoder_trl import StepCoderPPOTrainer


pytestmark = pytest.mark.sandbox


def test_too_long_problem_is_left_out_and_named(make_trainer, problems, caplog):
    rows = [problem.to_row() for problem in problems]
    long = [{**row, "task_id": f"long/{n}", "prompt": "x" * 300} for n, row in enumerate(rows[:2])]

    with caplog.at_level(logging.WARNING, logger="stepcoder_trl"):
        trainer = make_trainer(dataset=rows + long, max_prompt_length=120)

    assert len(trainer.rows) == 8
    assert "2 of 10 problems are left out" in caplog.text
    assert "long/0, long/1" in caplog.text
    assert trainer.curriculum.state_dict()["problems"].keys() == {row.task_id for row in trainer.rows}


@pytest.mark.parametrize(
    ("keywords", "changes", "message"),
    [
        ({"dataset": []}, {}, "has no rows"),
        ({}, {"response_length": 256}, "`response_length` 256 leaves no room in 256 positions"),
        ({}, {"response_length": 255}, "No row of `train_dataset` is usable"),
        ({}, {"num_generations": 3}, "multiple of `num_generations`, 3. The nearest that fit: 3 and 6"),
        ({}, {"gradient_accumulation_steps": 18, "num_generations": 4}, "has 8 usable rows, but an update takes 9"),
        ({"dataset": [{"prompt": "p"}]}, {}, "Row 0 of `train_dataset` has no `tests`"),
        ({"dataset": [{"input_ids": [1]}]}, {}, "neither `reward_funcs` nor `reward_model`"),
        ({"keywords": {"reward_funcs": []}}, {}, "`reward_funcs` is empty"),
        ({"keywords": {"reward_weights": [1.0, 2.0]}}, {}, "`reward_weights` has 2 values"),
    ],
)
def test_invalid_run_is_refused_before_training(make_trainer, keywords, changes, message):
    with pytest.raises(ValueError, match=message):
        make_trainer(**keywords, **changes)


def test_the_training_set_is_required(tokenizer, make_policy, make_args):
    with pytest.raises(ValueError, match="`train_dataset` is missing"):
        StepCoderPPOTrainer(make_args(), tokenizer, make_policy())
