"""Fixtures of the tests of the GRPO trainer: small arguments, and a trainer whose completions may be scripted."""

from __future__ import annotations

import warnings

import pytest

from stepcoder_trl.trainer.grpo_config import StepCoderGRPOConfig
from stepcoder_trl.trainer.grpo_trainer import StepCoderGRPOTrainer
from tests.integration.grpo.helpers import SMALL, script_completions


@pytest.fixture(autouse=True)
def upstreams_warnings():
    """Ignore warnings of TRL and transformers about each other."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*(gradient|activation)_checkpointing", category=FutureWarning)
        yield


@pytest.fixture
def make_args(tmp_path):
    def make(**changes):
        folder = {"output_dir": str(tmp_path / "run"), "overwrite_output_dir": True}
        own = {**folder, "max_steps": 2, "save_strategy": "no"}
        return StepCoderGRPOConfig(**{**SMALL, **own, **changes})

    return make


@pytest.fixture
def make_trainer(tokenizer, make_policy, problems, executor, make_args):
    """Return a function that makes trainers. `seen` has the record of each round."""

    def make(*, policy=None, dataset=None, keywords=None, texts=None, cls=StepCoderGRPOTrainer, **changes):
        trainer = cls(
            model=policy if policy is not None else make_policy(),
            args=make_args(**changes),
            train_dataset=problems if dataset is None else dataset,
            **{"processing_class": tokenizer, "executor": executor, **(keywords or {})},
        )
        trainer.seen = []
        trainer.on_round = trainer.seen.append
        if texts is not None:
            script_completions(trainer, texts)
        return trainer

    return make
