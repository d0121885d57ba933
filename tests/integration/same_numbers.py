"""Two updates of each trainer with given completions, to compare places in which programs run."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch

from stepcoder_trl import StepCoderGRPOConfig, StepCoderGRPOTrainer, StepCoderPPOConfig, StepCoderPPOTrainer
from tests.conftest import SMALL_RUN
from tests.integration.grpo.helpers import SMALL, history, script_completions
from tests.integration.helpers import BRANCH, RIGHT, UNPARSABLE, WRONG, Script


TEXTS = (RIGHT, BRANCH, UNPARSABLE, WRONG, RIGHT)


def ppo(tokenizer: Any, policy: Any, problems: Any, options: dict[str, Any]) -> StepCoderPPOTrainer:
    args = StepCoderPPOConfig(**{**SMALL_RUN, **options})
    trainer = StepCoderPPOTrainer(args, tokenizer, policy, train_dataset=problems)
    script = Script(tokenizer)
    script.write(*TEXTS)
    trainer.generate = script.generate
    return trainer


def grpo(tokenizer: Any, policy: Any, problems: Any, options: dict[str, Any]) -> StepCoderGRPOTrainer:
    args = StepCoderGRPOConfig(**{**SMALL, **options})
    trainer = StepCoderGRPOTrainer(model=policy, args=args, train_dataset=problems, processing_class=tokenizer)
    script_completions(trainer, TEXTS)
    return trainer


def two_updates(output_dir: Any, **options: Any) -> dict[str, Any]:
    """Return the options of a run of two updates without checkpoints."""
    return {"output_dir": str(output_dir), "max_steps": 2, "save_strategy": "no", **options}


def assert_same_numbers(one: Any, other: Any) -> None:
    """Check that two trainers logged the same and ended with the same weights."""
    assert list(_differences(history(one), history(other))) == []
    weights = dict(other.model.named_parameters())
    assert all(torch.equal(tensor, weights[name]) for name, tensor in one.model.named_parameters())


def _differences(one: Any, other: Any) -> Iterator[tuple[str, Any, Any]]:
    for line, its in zip(one, other, strict=True):
        for name, value in line.items():
            if name != "eps" and value != its[name]:  # episodes per second
                yield name, value, its[name]
