"""Learner: optimizer steps, on a model of two embeddings."""

from __future__ import annotations

import math
from contextlib import nullcontext
from types import SimpleNamespace

import pytest
import torch

from stepcoder_trl.trainer.batches import BatchPlan
from stepcoder_trl.trainer.learner import Learner
from stepcoder_trl.trainer.records import Experience


VOCABULARY = 4


class Tiny(torch.nn.Module):
    """Policy and critic that see only the token before each response token."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.policy = torch.nn.Embedding(VOCABULARY, VOCABULARY)
        self.value_model = torch.nn.Embedding(VOCABULARY, 1)

    def forward(self, ids, mask, length):
        before = ids[:, -length - 1 : -1]
        return self.policy(before), self.value_model(before).squeeze(-1)


@pytest.fixture
def model():
    return Tiny()


@pytest.fixture
def learner(model):
    accelerator = SimpleNamespace(
        accumulate=lambda model: nullcontext(),
        reduce=lambda tensor, how: tensor,
        backward=lambda loss: loss.backward(),
        clip_grad_norm_=torch.nn.utils.clip_grad_norm_,
        unwrap_model=lambda model: model,
        gradient_accumulation_steps=1,
        num_processes=1,
        sync_gradients=True,
        state=SimpleNamespace(deepspeed_plugin=None),
    )
    args = SimpleNamespace(
        num_ppo_epochs=2, temperature=1.0, cliprange=0.2, cliprange_value=0.2, vf_coef=0.1, max_grad_norm=0.0
    )
    plan = BatchPlan(
        num_generations=1,
        micro_batch_size=1,
        local_mini_batch_size=1,
        local_batch_size=2,
        batch_size=2,
        accumulation_steps=1,
        prompts_per_update=2,
        updates_per_epoch=1,
        num_updates=1,
    )
    return Learner(args, plan, accelerator, model, torch.optim.SGD(model.parameters(), lr=0.1))


@pytest.fixture
def experience():
    ids, ones = torch.tensor([[1, 2], [3, 1]]), torch.ones(2, 2, dtype=torch.bool)
    uniform = torch.full((2, 2), -math.log(VOCABULARY))
    return Experience(
        query_ids=torch.tensor([[1], [2]]),
        query_mask=torch.ones(2, 1, dtype=torch.bool),
        response_ids=ids,
        lengths=torch.tensor([2, 2]),
        valid_mask=ones,
        loss_mask=ones,
        log_probs=uniform,
        values=torch.zeros(2, 2),
        advantages=torch.tensor([[1.0, 1.0], [-1.0, 1.0]]),
        returns=torch.ones(2, 2),
    )


def test_one_step_per_mini_batch_and_pass(learner, experience):
    steps = []
    learner.optimizer.register_step_post_hook(lambda *_: steps.append(None))

    totals = learner.update(experience)

    assert len(steps) == 4  # two mini-batches, two passes
    assert totals["grad_norm"][1] == 4.0
    assert totals["loss/policy_avg"][1] == 4.0


def test_policy_does_not_change_during_critic_warmup(learner, model, experience):
    policy, critic = model.policy.weight.detach().clone(), model.value_model.weight.detach().clone()
    learner.trains_policy = False

    learner.update(experience)

    assert torch.equal(model.policy.weight, policy)
    assert not torch.equal(model.value_model.weight, critic)
    assert model.policy.weight.grad is None


def test_policy_does_not_change_without_kept_tokens(learner, model, experience):
    policy = model.policy.weight.detach().clone()
    masked = Experience(**{**vars(experience), "loss_mask": torch.zeros(2, 2, dtype=torch.bool)})

    learner.update(masked)

    assert torch.equal(model.policy.weight, policy)


@pytest.mark.parametrize("limit", [None, 0.0, -1.0])
def test_gradient_keeps_its_length_and_sign_without_a_limit(learner, experience, limit, monkeypatch):
    limits: list[float] = []
    learner.args.max_grad_norm = limit
    monkeypatch.setattr(learner.accelerator, "clip_grad_norm_", lambda _, limit: limits.append(limit))

    learner.clip_gradient({})

    assert limits == [math.inf]


def test_gradient_is_clipped_if_max_grad_norm_is_set(learner, experience):
    learner.args.max_grad_norm = 1e-6
    totals, moved = {}, learner.model.value_model.weight.detach().clone()

    learner.optimizer_step(experience, torch.tensor([0]), totals)

    assert totals["grad_norm"][0] > 1e-3
    assert (learner.model.value_model.weight - moved).abs().max() < 1e-6
