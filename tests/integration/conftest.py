"""Fixtures of the tests that train: small arguments, a trainer that keeps its updates, scripted answers."""

from __future__ import annotations

import pytest
import torch

from stepcoder_trl import StepCoderPPOConfig, StepCoderPPOTrainer
from stepcoder_trl.evaluation.generation import Generation, generate


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


class Script:
    """Stands for sampling: `generate` answers queries with given texts, in turn and again from the first."""

    def __init__(self, tokenizer):
        self.tokenizer, self.texts = tokenizer, ()

    def write(self, *texts, eos=True):
        self.texts, self.eos, self.asked = texts, eos, 0

    def generate(self, model, queries, tokenizer, sampling, batch_size, **options):
        if not self.texts:
            return generate(model, queries, tokenizer, sampling, batch_size, **options)
        rows = []
        for _ in queries:
            text = self.texts[self.asked % len(self.texts)]
            self.asked += 1
            rows.append([*tokenizer(text)["input_ids"], *([tokenizer.eos_token_id] if self.eos else [])])
        size, width = max(map(len, rows)), max(len(query.token_ids) for query in queries)
        return Generation(
            query_ids=torch.tensor([[0] * (width - len(q.token_ids)) + list(q.token_ids) for q in queries]),
            query_mask=torch.tensor([[n >= width - len(q.token_ids) for n in range(width)] for q in queries]),
            response_ids=torch.tensor([row + [0] * (size - len(row)) for row in rows]),
            lengths=torch.tensor([len(row) for row in rows]),
            stopped=torch.tensor([self.eos] * len(rows)),
        )


@pytest.fixture
def scripted(tokenizer):
    """Sampling of the trainers that `make_trainer` makes: the model's own until `script` is called."""
    return Script(tokenizer)


@pytest.fixture
def script(scripted):
    """Makes the policy answer with given texts, in turn and again from the first."""
    return scripted.write


@pytest.fixture
def make_trainer(tokenizer, make_policy, problems, executor, make_args, scripted):
    """Makes trainers. `seen` has rollout, scores and experience of each update."""

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
