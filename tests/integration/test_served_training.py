"""Two updates of each trainer, against two served hosts and in this process: the same numbers."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from stepcoder_trl import StepCoderGRPOConfig, StepCoderGRPOTrainer, StepCoderPPOConfig, StepCoderPPOTrainer
from tests.conftest import SMALL_RUN
from tests.integration.grpo.helpers import SMALL, history, script_completions
from tests.integration.helpers import BRANCH, RIGHT, UNPARSABLE, WRONG, Script
from tests.unit.executor.serve.conftest import Served


pytestmark = pytest.mark.filterwarnings("ignore:.*(gradient|activation)_checkpointing:FutureWarning")

TEXTS = (RIGHT, BRANCH, UNPARSABLE, WRONG, RIGHT)


@pytest.fixture(scope="module")
def hosts() -> Iterator[list[str]]:
    services = [Served("--workers", "1") for _ in range(2)]
    yield [service.url for service in services]
    for service in services:
        service.stop()


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
def test_training_against_served_hosts_gives_the_same_numbers(hosts, make, tokenizer, make_policy, problems, tmp_path):
    logs, weights = [], []
    for place, chosen in (("local", {}), ("remote", {"executor_urls": hosts})):
        options = {"output_dir": str(tmp_path / place), "max_steps": 2, "save_strategy": "no", "executor": place}
        trainer = make(tokenizer, make_policy(), problems, {**options, **chosen})
        trainer.train()
        logs.append(history(trainer))
        weights.append({name: one.detach().clone() for name, one in trainer.model.named_parameters()})

    differences = [
        (name, value, other[name])
        for one, other in zip(*logs, strict=True)
        for name, value in one.items()
        if name != "eps" and value != other[name]  # episodes per second
    ]
    assert differences == []
    assert all(torch.equal(one, weights[1][name]) for name, one in weights[0].items())
