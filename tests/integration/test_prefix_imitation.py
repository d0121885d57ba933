"""Prefix imitation in PPO: its metric and loss against own forward passes, outside of ratio and KL."""

from __future__ import annotations

import pytest
import torch

from tests.integration.helpers import RIGHT, WRONG, log_probs, logged


pytestmark = pytest.mark.sandbox

SHOWN = "\n    if x > 0:\n        return 1\n    if x < 0:\n        return -1"


def test_metric_and_loss_equal_own_forward_passes(make_trainer, make_policy, script, tokenizer):
    script(RIGHT, WRONG)
    trainer = make_trainer(max_steps=1, prefix_imitation=0.2, temperature=0.5)

    trainer.train()

    (rollout, _, experience), mine, means = trainer.seen[0], make_policy(), []
    for start, length in zip(rollout.starts, experience.prefix_lengths.tolist(), strict=True):
        ids = list(start.query.token_ids)
        given, shown = ids[: len(ids) - length], ids[len(ids) - length :]
        assert tokenizer.decode(shown) == SHOWN
        means.append(log_probs(mine, given, shown, temperature=1.0)[range(length), shown].mean().item())
    mean = sum(means) / len(means)
    assert logged(trainer, "curriculum/prefix_log_prob") == [pytest.approx(mean, abs=1e-5)]
    assert logged(trainer, "loss/imitation_avg") == [pytest.approx(-mean, abs=1e-5)]
    # Before the first step the ratio is 1 and the KL divergence 0, whatever prefixes there are.
    assert logged(trainer, "val/ratio") == [pytest.approx(1.0, abs=1e-5)]
    assert logged(trainer, "objective/kl") == [pytest.approx(0.0, abs=1e-4)]


def test_weights_of_a_problem_from_scratch_are_those_without_imitation(make_trainer, script):
    weights = []
    for weight in (0.0, 0.5):
        script(RIGHT, WRONG)
        trainer = make_trainer(max_steps=1, curriculum="mix", curriculum_mix_probability=1.0, prefix_imitation=weight)
        trainer.train()
        weights.append([p.detach() for p in trainer.model.parameters()])

    assert all(map(torch.equal, *weights))
    assert logged(trainer, "loss/imitation_avg") == [0.0]


def test_imitation_makes_prefixes_likelier(make_trainer, script):
    script(WRONG)
    trainer = make_trainer(max_steps=4, prefix_imitation=1.0, learning_rate=3e-3, critic_warmup_steps=1)

    result = trainer.train()

    found = logged(trainer, "curriculum/prefix_log_prob")
    assert found[0] == pytest.approx(found[1], abs=0.01)  # the policy does not learn in the first update
    assert found[-1] > found[0] + 0.1
    losses = logged(trainer, "loss/imitation_avg")
    assert result.training_loss == pytest.approx(
        sum(logged(trainer, "loss/policy_avg")) / 4
        + 0.1 * sum(logged(trainer, "loss/value_avg")) / 4
        + sum(losses) / 4
    )
