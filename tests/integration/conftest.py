"""Fixtures of the tests that train: small arguments, a trainer that keeps its updates, scripted answers."""

from __future__ import annotations

import pytest

from stepcoder_trl import StepCoderPPOConfig, StepCoderPPOTrainer
from tests.conftest import SMALL_RUN
from tests.integration.helpers import Script
from tests.vllm_stand_in import StandInClient


@pytest.fixture
def make_args(tmp_path):
    def make(**changes):
        folder = {"output_dir": str(tmp_path / "run"), "overwrite_output_dir": True}
        own = {**folder, "max_steps": 2, "save_strategy": "no"}
        return StepCoderPPOConfig(**{**SMALL_RUN, **own, **changes})

    return make


@pytest.fixture
def scripted(tokenizer):
    """Sampling of the trainers of `make_trainer`. The model samples until `script` is called."""
    return Script(tokenizer)


@pytest.fixture
def script(scripted):
    """Return a function that sets the texts of the completions. They are used in turn, again and again."""
    return scripted.write


@pytest.fixture
def make_trainer(tokenizer, make_policy, problems, executor, make_args, scripted):
    """Return a function that makes trainers. `seen` has rollout, scores and experience of each update."""

    def make(*, policy=None, dataset=None, keywords=None, cls=StepCoderPPOTrainer, **changes):
        trainer = cls(
            make_args(**changes),
            tokenizer,
            policy if policy is not None else make_policy(),
            train_dataset=problems if dataset is None else dataset,
            **{"executor": executor, **(keywords or {})},
        )
        trainer.generate = scripted.generate
        trainer.seen = []
        trainer.on_update = lambda update: trainer.seen.append((update.rollout, update.scores, update.experience))
        return trainer

    return make


@pytest.fixture
def stand_in(monkeypatch, make_policy):
    """Put a model in this process, with other weights than the policy's, in the place of a vLLM server."""
    import torch
    from trl.generation import vllm_generation

    class Client(StandInClient):
        model = make_policy(seed=9).eval()

    monkeypatch.setattr(vllm_generation, "is_vllm_available", lambda *_, **__: True)
    monkeypatch.setattr(vllm_generation, "VLLMClient", Client)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: torch.device("cpu"))  # up to TRL 1.6
    return Client
