"""Model and tokenizer from what the caller of a trainer passes."""

from __future__ import annotations

import pytest
import torch

from stepcoder_trl import StepCoderPPOConfig, StepCoderPPOTrainer
from stepcoder_trl.errors import BadInputError
from stepcoder_trl.jsonl import write_rows
from stepcoder_trl.trainer.inputs import load_model, load_tokenizer


def test_model_is_loaded_by_name_in_float32_and_its_tokenizer_with_it(make_policy, tokenizer, tmp_path):
    make_policy().to(torch.bfloat16).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)

    model = load_model(tmp_path)

    assert model.dtype == torch.float32
    assert load_tokenizer(None, model)("def f")["input_ids"] == tokenizer("def f")["input_ids"]
    assert load_model(model) is model
    assert load_tokenizer(tokenizer, model) is tokenizer


def test_missing_model_and_tokenizer_are_one_line(make_policy):
    with pytest.raises(BadInputError, match="`model` is missing"):
        load_model(None)
    with pytest.raises(BadInputError, match="The model 'nowhere' cannot be loaded"):
        load_model("nowhere")
    with pytest.raises(BadInputError, match="`processing_class` is missing, and the model has no name"):
        load_tokenizer(None, make_policy())


def test_ppo_trainer_takes_paths_and_defaults(make_policy, tokenizer, problems, tmp_path):
    make_policy(max_position_embeddings=2048).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    write_rows(tmp_path / "problems.jsonl", [problem.to_row() for problem in problems])
    args = StepCoderPPOConfig(output_dir=str(tmp_path / "run"), use_cpu=True)

    trainer = StepCoderPPOTrainer(args, model=str(tmp_path), train_dataset=tmp_path / "problems.jsonl")

    assert (trainer.plan.batch_size, trainer.plan.prompts_per_update) == (16, 1)
    assert args.gradient_accumulation_steps == 2
    assert len(trainer.rows) == 8
