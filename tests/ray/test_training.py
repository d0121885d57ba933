"""Two updates of each trainer, against Ray and in this process: the same numbers."""

from __future__ import annotations

import pytest
from transformers import TrainerCallback

from tests.integration.same_numbers import assert_same_numbers, grpo, ppo, two_updates
from tests.ray.test_executor import actors


pytestmark = pytest.mark.filterwarnings("ignore:.*(gradient|activation)_checkpointing:FutureWarning")


class CountActors(TrainerCallback):
    """Counts the actors after each update."""

    def __init__(self):
        self.found = []

    def on_step_end(self, args, state, control, **kwargs):
        self.found.append(len(actors()))


@pytest.mark.parametrize("make", [ppo, grpo])
def test_training_against_ray_gives_the_same_numbers(cluster, make, tokenizer, make_policy, problems, tmp_path):
    trainers = []
    for executor in ("local", "ray"):
        options = two_updates(tmp_path / executor, executor=executor, executor_workers=1)
        trainers.append(make(tokenizer, make_policy(), problems, options))
        counted = CountActors()
        trainers[-1].add_callback(counted)
        trainers[-1].train()
        assert max(counted.found) == (3 if executor == "ray" else 0)
        assert trainers[-1].runner.backend == ("RayExecutor" if executor == "ray" else "CodeExecutor")

    assert_same_numbers(*trainers)
