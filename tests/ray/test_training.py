"""Two updates of each trainer, against Ray and in this process: the same numbers."""

from __future__ import annotations

import pytest
import torch
from transformers import TrainerCallback

from stepcoder_trl import StepCoderGRPOConfig, StepCoderGRPOTrainer, StepCoderPPOConfig, StepCoderPPOTrainer
from tests.conftest import SMALL_RUN
from tests.integration.grpo.helpers import SMALL, history, script_completions
from tests.integration.helpers import BRANCH, RIGHT, UNPARSABLE, WRONG, Script
from tests.ray.test_executor import actors


pytestmark = pytest.mark.filterwarnings("ignore:.*(gradient|activation)_checkpointing:FutureWarning")


TEXTS = (RIGHT, BRANCH, UNPARSABLE, WRONG, RIGHT)


class CountActors(TrainerCallback):
    """Counts the actors after each update."""

    def __init__(self):
        self.found = []

    def on_step_end(self, args, state, control, **kwargs):
        self.found.append(len(actors()))


def ppo(tokenizer, policy, problems, options):
    args = StepCoderPPOConfig(**{**SMALL_RUN, **options})
    trainer = StepCoderPPOTrainer(args, tokenizer, policy, train_dataset=problems)
    script = Script(tokenizer)
    script.write(*TEXTS)
    trainer.generate = script.generate
    return trainer


def grpo(tokenizer, policy, problems, options):
    args = StepCoderGRPOConfig(**{**SMALL, **options})
    trainer = StepCoderGRPOTrainer(model=policy, args=args, train_dataset=problems, processing_class=tokenizer)
    script_completions(trainer, TEXTS)
    return trainer


@pytest.mark.parametrize("make", [ppo, grpo])
def test_training_against_ray_gives_the_same_numbers(cluster, make, tokenizer, make_policy, problems, tmp_path):
    logs, weights = [], []
    for executor in ("local", "ray"):
        options = {"output_dir": str(tmp_path / executor), "max_steps": 2, "save_strategy": "no"}
        options |= {"executor": executor, "executor_workers": 1}
        trainer = make(tokenizer, make_policy(), problems, options)
        counted = CountActors()
        trainer.add_callback(counted)
        trainer.train()
        logs.append(history(trainer))
        weights.append({name: one.detach().clone() for name, one in trainer.model.named_parameters()})
        assert max(counted.found) == (3 if executor == "ray" else 0)
        assert trainer.runner.backend == ("RayExecutor" if executor == "ray" else "CodeExecutor")

    differences = [
        (name, value, other[name])
        for one, other in zip(*logs, strict=True)
        for name, value in one.items()
        if name != "eps" and value != other[name]  # episodes per second
    ]
    assert differences == []
    assert all(torch.equal(one, weights[1][name]) for name, one in weights[0].items())
