"""Trains a random model of two layers for a few updates on the CPU."""

from __future__ import annotations

import pytest
import torch


pytestmark = pytest.mark.sandbox


@pytest.fixture
def make_args(tmp_path):
    from stepcoder_trl import StepCoderPPOConfig

    def make(**changes):
        return StepCoderPPOConfig(
            **{
                "output_dir": str(tmp_path / "run"),
                "per_device_train_batch_size": 2,
                "gradient_accumulation_steps": 2,
                "num_generations": 2,
                "response_length": 12,
                "max_steps": 2,
                "logging_steps": 1,
                "save_strategy": "no",
                "learning_rate": 1e-3,
                "value_learning_rate": 3e-3,
                "report_to": "none",
                "use_cpu": True,
                "disable_tqdm": True,
                **changes,
            }
        )

    return make


@pytest.fixture
def make_trainer(tokenizer, make_policy, problems, executor, make_args):
    from stepcoder_trl import StepCoderPPOTrainer

    def make(*, policy=None, dataset=None, cls=StepCoderPPOTrainer, keywords=None, **changes):
        return cls(
            make_args(**changes),
            tokenizer,
            policy if policy is not None else make_policy(),
            train_dataset=problems if dataset is None else dataset,
            **{"executor": executor, **(keywords or {})},
        )

    return make


def test_two_updates_change_policy_and_critic(make_trainer):
    trainer = make_trainer()
    before = {name: p.clone() for name, p in trainer.model.named_parameters()}

    result = trainer.train()

    assert result.global_step == 2
    for name, parameter in trainer.model.named_parameters():
        assert not torch.equal(parameter, before[name]), name
