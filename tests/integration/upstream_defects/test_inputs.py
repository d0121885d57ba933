"""Data sets, adapters and reward functions."""

from __future__ import annotations

from pathlib import Path

import pytest
from peft import LoraConfig

from tests.integration.helpers import logged
from tests.integration.upstream import models, needs_upstream, our_trainer, token_rows, upstream_trainer


@needs_upstream
def test_d19_upstream_accepts_too_few_rows(tokenizer, tmp_path):
    few = {"train_dataset": token_rows(tokenizer, 3)}

    assert len(upstream_trainer(tokenizer, tmp_path, {**models(tokenizer), **few}).dataloader) == 0


def test_d19_ours_refuses_too_few_rows(tokenizer, tmp_path):
    with pytest.raises(ValueError, match="`train_dataset` has 3 usable rows, but an update takes 4 prompts"):
        our_trainer(tokenizer, tmp_path, {"train_dataset": token_rows(tokenizer, 3)})


@needs_upstream
def test_d20_upstream_cannot_evaluate(tokenizer, tmp_path):
    few = {"eval_dataset": token_rows(tokenizer, 3)}
    trainer = upstream_trainer(tokenizer, tmp_path, few, per_device_eval_batch_size=8)

    assert len(trainer.get_eval_dataloader()) == 0
    with pytest.raises(AttributeError, match="_memory_tracker"):
        trainer.evaluate()


def test_d20_ours_evaluates_every_row(tokenizer, tmp_path, capsys):
    few = {"eval_dataset": token_rows(tokenizer, 3)}
    trainer = our_trainer(tokenizer, tmp_path, few, per_device_eval_batch_size=8)

    trainer.generate_completions()
    metrics = trainer.evaluate()

    table = capsys.readouterr().out
    assert all(f"f{number}(" in table for number in range(3))
    assert any(name.startswith("eval_") for name in metrics)


def trained_share(model):
    return sum(p.numel() for p in model.parameters() if p.requires_grad) / sum(p.numel() for p in model.parameters())


@pytest.fixture
def adapter():
    return {"peft_config": LoraConfig(r=2, target_modules=["q_proj"], task_type="CAUSAL_LM"), "ref_model": None}


@needs_upstream
def test_d23_upstream_trains_full_critic_with_adapter(tokenizer, tmp_path, adapter):
    trainer = upstream_trainer(tokenizer, tmp_path, {**models(tokenizer), **adapter})

    assert trained_share(trainer.value_model) == 1


@pytest.mark.filterwarnings("ignore:.*gradient_checkpointing:FutureWarning")
def test_d23_ours_trains_critic_adapter_on_policy_weights(tokenizer, tmp_path, adapter):
    trainer = our_trainer(tokenizer, tmp_path, {**models(tokenizer), **adapter, "value_model": None})

    assert trained_share(trainer.value_model) < 0.1
    shared = {id(p) for p in trainer.policy_model.parameters()}
    assert sum(p.numel() for p in trainer.value_model.parameters() if id(p) not in shared) < 5_000


def length_reward(completions, **columns):
    return [float(len(text)) for text in completions]


@needs_upstream
def test_d26_upstream_takes_no_reward_function(tokenizer, tmp_path):
    with pytest.raises(AttributeError):
        upstream_trainer(tokenizer, tmp_path, {**models(tokenizer), "reward_model": length_reward})


def test_d26_ours_takes_reward_function(tokenizer, tmp_path):
    given = {**models(tokenizer), "reward_model": None, "reward_funcs": length_reward}
    trainer = our_trainer(tokenizer, tmp_path, given, max_steps=1)

    trainer.train()

    lengths = [len(completion.text) for completion in trainer.noted[0][0].completions]
    assert logged(trainer, "objective/scores") == pytest.approx([sum(lengths) / 4])


def test_docs_list_every_defect():
    table = (Path(__file__).parents[3] / "docs" / "coming_from_trl.md").read_text(encoding="utf-8")

    assert all(f"| D{number} |" in table for number in range(1, 29))
