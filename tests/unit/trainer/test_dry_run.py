"""Test the plan of a run and the estimate of its memory."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from stepcoder_trl.errors import BadInputError
from stepcoder_trl.trainer.dry_run import Model, Sharding, estimate_memory, plan_batches_of


GIB = 2**30


@pytest.fixture
def config():
    values = {"num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8}
    return SimpleNamespace(vocab_size=100, to_dict=lambda: values)


def ppo_args(**changes):
    given = {"per_device_train_batch_size": 4, "response_length": 10, "optim": "adamw_torch"}
    return SimpleNamespace(**given, local_rollout_forward_batch_size=64, **changes)


def test_memory_of_full_ppo_is_three_models_and_two_optimizers(config):
    needed = estimate_memory("ppo", ppo_args(), Model(config, GIB, GIB, 4.0), 6, Sharding())

    assert needed == {
        "weights": 3 * 4 * GIB,
        "gradients": 2 * 4 * GIB,
        "optimizer": 2 * 8 * GIB,
        "logits": 4 * 10 * 100 * 4 * 2,
        "cache while sampling": 64 * 16 * (2 * 2 * 2 * 8 * 4),
    }


def test_adapters_share_one_model(config):
    needed = estimate_memory("ppo", ppo_args(), Model(config, GIB, 1000, 0.5), 0, Sharding())

    assert needed["weights"] == 0.5 * GIB + 2 * 1000 * 4
    assert needed["optimizer"] == 2 * 1000 * 8


def test_zero_splits_by_stage(config):
    model = Model(config, GIB, GIB, 4.0)
    second, third = (estimate_memory("ppo", ppo_args(), model, 0, Sharding(8, stage)) for stage in (2, 3))

    assert (second["weights"], second["gradients"], second["optimizer"]) == (12 * GIB, 1 * GIB, 2 * GIB)
    assert third["weights"] == 1.5 * GIB


def test_rounds_of_grpo_are_planned():
    args = SimpleNamespace(
        per_device_train_batch_size=4,
        gradient_accumulation_steps=4,
        steps_per_generation=4,
        num_generations=8,
        num_iterations=1,
        max_steps=-1,
        num_train_epochs=3,
    )

    found = plan_batches_of("grpo", args, 8, 1)

    assert found["problems per round"] == 2
    assert found["optimizer steps"] == 12
    with pytest.raises(BadInputError, match="but there are 1 usable problems"):
        plan_batches_of("grpo", args, 1, 1)


def test_updates_of_fine_tuning_are_planned():
    args = SimpleNamespace(
        per_device_train_batch_size=4, gradient_accumulation_steps=2, max_steps=-1, num_train_epochs=3
    )

    assert plan_batches_of("sft", args, 20, 1) == {
        "solutions per update": 8,
        "updates per epoch": 3,
        "updates": 9,
    }
