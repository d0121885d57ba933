"""Sampling of completions."""

from __future__ import annotations

import copy

import torch

from tests.integration.helpers import logged
from tests.integration.upstream import models, needs_upstream, our_trainer, train_upstream, upstream_trainer


def largest_logits(model):
    """Return a list with one number: rows times columns of the largest logits so far."""
    largest = [0]
    model.lm_head.register_forward_hook(
        lambda module, inputs, output: largest.__setitem__(0, max(largest[0], output.shape[0] * output.shape[1]))
    )
    return largest


@needs_upstream
def test_d10_upstream_holds_logits_of_all_sampled_tokens(tokenizer, tmp_path, monkeypatch):
    from trl.experimental.ppo import ppo_trainer

    held, real = [], ppo_trainer.batch_generation
    monkeypatch.setattr(ppo_trainer, "batch_generation", lambda *args: held.append(real(*args)) or held[-1])

    train_upstream(upstream_trainer(tokenizer, tmp_path, total_episodes=8, gradient_accumulation_steps=4))

    assert held[0][1].shape == (8, 12, len(tokenizer))


def test_d10_ours_holds_logits_of_one_micro_batch(tokenizer, tmp_path):
    trainer = our_trainer(tokenizer, tmp_path, total_episodes=8, gradient_accumulation_steps=4)
    largest = largest_logits(trainer.policy_model)

    trainer.train()

    assert largest[0] <= 2 * (12 + 1)


def test_d11_ours_samples_with_top_p(tokenizer, tmp_path):
    trainer = our_trainer(tokenizer, tmp_path, max_steps=1, top_p=1e-6)
    policy = copy.deepcopy(trainer.policy_model)

    trainer.train()

    rollout, _, _ = trainer.noted[0]
    for sample, ids in zip(rollout.starts, rollout.generation.completion_ids(), strict=True):
        query = list(sample.query.token_ids)
        logits = policy(torch.tensor([query + ids])).logits[0, len(query) - 1 : -1]
        assert logits.argmax(-1).tolist() == ids


@needs_upstream
def test_d12_upstream_samples_with_generation_config_of_checkpoint(tokenizer, tmp_path):
    given = models(tokenizer)
    given["model"].generation_config.repetition_penalty = 50.0

    trainer = train_upstream(upstream_trainer(tokenizer, tmp_path, given, num_ppo_epochs=1, total_episodes=4))

    assert logged(trainer, "policy/approxkl_avg")[0] > 1e-5  # in the first pass, where the policy has not moved


def test_d13_ours_samples_several_completions_per_prompt(tokenizer, tmp_path):
    trainer = our_trainer(tokenizer, tmp_path, max_steps=1, num_generations=2)

    trainer.train()

    (first, second, third, fourth), (rollout, *_) = trainer.drawn[0], trainer.noted[0]
    assert first == second != third == fourth
    assert len({tuple(ids) for ids in rollout.generation.completion_ids()}) == 4
