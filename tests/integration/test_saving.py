"""Saved models, checkpoints and resumed runs."""

from __future__ import annotations

import json

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

from stepcoder_trl.errors import BadInputError
from tests.integration.helpers import RIGHT, TIMES, WRONG, logged


pytestmark = pytest.mark.sandbox


def test_saved_model_has_all_parts(make_trainer, tmp_path, tokenizer):
    trainer = make_trainer(max_steps=1)
    trainer.train()

    trainer.save_model(str(tmp_path / "saved"))

    policy = AutoModelForCausalLM.from_pretrained(tmp_path / "saved")
    critic = AutoModelForSequenceClassification.from_pretrained(tmp_path / "saved" / "value_model")
    for loaded, own in ((policy, trainer.policy_model), (critic, trainer.value_model)):
        for name, p in own.named_parameters():
            assert torch.equal(loaded.get_parameter(name), p), name
    curriculum = json.loads((tmp_path / "saved" / "curriculum.json").read_text())
    assert len(curriculum["problems"]) == 8
    assert (tmp_path / "saved" / "tokenizer.json").exists()


@pytest.mark.parametrize("logging_steps", [1, 3])
def test_resumed_run_equals_uninterrupted_run(make_trainer, tmp_path, logging_steps):
    changes = {
        "max_steps": 5,
        "save_strategy": "steps",
        "save_steps": 2,
        "num_mini_batches": 2,
        "per_device_train_batch_size": 4,
        "logging_steps": logging_steps,
        "curriculum": "mix",
        "curriculum_mix_probability": 0.5,
    }
    uninterrupted = make_trainer(output_dir=str(tmp_path / "uninterrupted"), **changes)
    uninterrupted.train()
    torch.manual_seed(12345)

    # Weights and random state differ here, so that everything must come from the checkpoint.
    resumed = make_trainer(output_dir=str(tmp_path / "resumed"), **changes)
    resumed.train(resume_from_checkpoint=str(tmp_path / "uninterrupted" / "checkpoint-2"))

    for name, p in resumed.model.named_parameters():
        assert torch.equal(p, uninterrupted.model.get_parameter(name)), name
    history = [
        [{k: v for k, v in entry.items() if k not in TIMES} for entry in trainer.state.log_history]
        for trainer in (uninterrupted, resumed)
    ]
    assert history[0] == history[1]
    assert resumed.curriculum.state_dict() == uninterrupted.curriculum.state_dict()
    assert [rollout.generation.completion_ids() for rollout, *_ in resumed.seen] == [
        rollout.generation.completion_ids() for rollout, *_ in uninterrupted.seen[2:]
    ]


def test_training_resumes_from_newest_checkpoint(make_trainer, tmp_path):
    make_trainer(max_steps=2, save_strategy="steps", save_steps=1, save_total_limit=1).train()
    run = tmp_path / "run"
    assert [path.name for path in run.glob("*checkpoint-*")] == ["checkpoint-2"]

    trainer = make_trainer(max_steps=3, save_strategy="steps", save_steps=1)
    result = trainer.train(resume_from_checkpoint=True)

    assert result.global_step == 3
    assert len(trainer.seen) == 1
    assert trainer.state.episode == 12


def test_run_after_interrupted_run_starts_without_gradients(make_trainer, script):
    script(RIGHT, WRONG)
    trainer = make_trainer(max_steps=1)
    backward, synced = trainer.learner.backward, []

    def interrupted(*args):
        backward(*args)
        raise KeyboardInterrupt

    def watched(*args):
        synced.append(trainer.accelerator.sync_gradients)
        assert len(synced) > 1 or all(p.grad is None for p in trainer.model.parameters())
        backward(*args)

    trainer.learner.backward = interrupted
    with pytest.raises(KeyboardInterrupt):
        trainer.train()
    trainer.learner.backward = watched
    trainer.train()

    assert synced == [False, True]


def test_second_run_restarts_learning_rates(make_trainer):
    trainer = make_trainer(max_steps=2)

    trainer.train()
    trainer.train()

    assert logged(trainer, "lr") == [1e-3, 5e-4, 1e-3, 5e-4]


def test_resuming_a_finished_run_trains_nothing(make_trainer):
    make_trainer(max_steps=1, save_strategy="steps", save_steps=1).train()
    trainer = make_trainer(max_steps=1)

    result = trainer.train(resume_from_checkpoint=True)

    assert (result.global_step, trainer.seen) == (1, [])


def test_checkpoint_of_another_model_is_refused(make_trainer, make_policy):
    make_trainer(max_steps=1, save_strategy="steps", save_steps=1).train()
    trainer = make_trainer(policy=make_policy(num_hidden_layers=1))

    with pytest.raises(BadInputError, match="trained parameters"):
        trainer.train(resume_from_checkpoint=True)


def test_a_checkpoint_without_training_state_is_refused(make_trainer):
    make_trainer(max_steps=1, save_strategy="steps", save_steps=1, save_only_model=True).train()

    with pytest.raises(BadInputError, match="save_only_model"):
        make_trainer().train(resume_from_checkpoint=True)
