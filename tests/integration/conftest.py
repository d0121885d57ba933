"""Fixtures of the tests that train: small arguments, a trainer that keeps what its steps hand on, scripted answers."""

from __future__ import annotations

import pytest
import torch

from stepcoder_trl import StepCoderPPOConfig, StepCoderPPOTrainer
from stepcoder_trl.evaluation.generation import Generation
from stepcoder_trl.trainer import ppo_trainer


@pytest.fixture
def make_args(tmp_path):
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
                "gradient_checkpointing": False,
                "report_to": "none",
                "use_cpu": True,
                "disable_tqdm": True,
                **changes,
            }
        )

    return make


class Spy(StepCoderPPOTrainer):
    """Keeps what the steps hand to each other, per update."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.seen = []

    def compute_advantages(self, rollout, tokens, rewards, scores, loss_mask):
        experience = super().compute_advantages(rollout, tokens, rewards, scores, loss_mask)
        self.seen.append((rollout, scores, experience))
        return experience


@pytest.fixture
def make_trainer(tokenizer, make_policy, problems, executor, make_args):
    def make(*, policy=None, dataset=None, keywords=None, cls=Spy, **changes):
        return cls(
            make_args(**changes),
            tokenizer,
            policy if policy is not None else make_policy(),
            train_dataset=problems if dataset is None else dataset,
            **{"executor": executor, **(keywords or {})},
        )

    return make


@pytest.fixture
def script(monkeypatch, tokenizer):
    """Makes the policy answer with given texts, in turn and again from the first."""

    def write(*texts, eos=True):
        asked = []

        def generate(model, queries, tokenizer, sampling, batch_size, **options):
            rows = []
            for _ in queries:
                text = texts[len(asked) % len(texts)]
                asked.append(text)
                rows.append([*tokenizer(text)["input_ids"], *([tokenizer.eos_token_id] if eos else [])])
            size, width = max(map(len, rows)), max(len(query.token_ids) for query in queries)
            return Generation(
                query_ids=torch.tensor([[0] * (width - len(q.token_ids)) + list(q.token_ids) for q in queries]),
                query_mask=torch.tensor([[n >= width - len(q.token_ids) for n in range(width)] for q in queries]),
                response_ids=torch.tensor([row + [0] * (size - len(row)) for row in rows]),
                lengths=torch.tensor([len(row) for row in rows]),
                stopped=torch.tensor([eos] * len(rows)),
            )

        monkeypatch.setattr(ppo_trainer, "generate", generate)

    return write
