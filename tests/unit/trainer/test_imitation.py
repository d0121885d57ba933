"""Prefix imitation: means of log-probabilities, and loss and gradient by hand."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from stepcoder_trl.trainer.imitation import mean_log_probs, prefix_mask, run_with_prefixes, with_prefixes
from tests.unit.trainer.test_learner import Tiny, experience, learner, model


__all__ = ["experience", "learner", "model"]  # fixtures


def test_means_by_hand():
    log_probs = torch.tensor([[-1.0, -2.0, -3.0], [-4.0, -5.0, -6.0], [-7.0, -8.0, -9.0]])

    means = mean_log_probs(log_probs, torch.tensor([3, 0, 2]))

    assert means.tolist() == [-2.0, 0.0, -8.5]


def test_values_outside_the_prefix_are_ignored():
    log_probs = torch.tensor([[math.nan, -1.0]], requires_grad=True)

    mean_log_probs(log_probs, torch.tensor([1])).sum().backward()

    assert log_probs.grad.tolist() == [[0.0, 1.0]]


@given(st.lists(st.integers(0, 5), min_size=1, max_size=4), st.integers(0, 3))
def test_padding_on_the_left_changes_nothing(lengths, more):
    counts = torch.tensor(lengths)
    size = max(lengths)
    log_probs = -torch.arange(1.0, 1 + len(lengths) * size).reshape(len(lengths), size)
    padded = torch.cat([torch.full((len(lengths), more), 9.0), log_probs], 1)

    assert prefix_mask(counts, size).sum(1).tolist() == lengths
    assert torch.equal(mean_log_probs(padded, counts), mean_log_probs(log_probs, counts))


def test_without_weight_the_experience_is_the_same_object(experience):
    assert with_prefixes(experience, (), None, 0.0) is experience


# The model's logits of a token depend on the token before it: 4 rows of 4. Two queries of three tokens with prefixes
# of two and of no token: 3 -> 0 -> 1 is the prefix of the first.
QUERIES = torch.tensor([[3, 0, 1], [1, 3, 2]])


@pytest.fixture
def prefixed(experience):
    mask = torch.ones(2, 3, dtype=torch.bool)
    return replace(experience, query_ids=QUERIES, query_mask=mask, prefix_lengths=torch.tensor([2, 0]))


def outputs_of(model, batch):
    ids = torch.cat([batch.query_ids, batch.response_ids], 1)
    return run_with_prefixes(model, ids, torch.ones_like(ids).bool(), batch)


def test_one_pass_gives_responses_and_prefixes(model, prefixed):
    found = outputs_of(model, prefixed)

    plain = outputs_of(model, replace(prefixed, prefix_lengths=None))
    assert torch.equal(found.logits, plain.logits)
    assert torch.equal(found.values, plain.values)
    table = model.policy.weight.log_softmax(-1)
    assert found.prefix_means.tolist() == pytest.approx([((table[3, 0] + table[0, 1]) / 2).item(), 0.0])
    assert plain.prefix_means.tolist() == [0.0, 0.0]


def gradient_of(learner, batch, policy_loss=True):
    """Return the gradient of the policy for one optimizer step of both completions, in micro-batches of one."""
    learner.optimizer.zero_grad()
    if not policy_loss:
        batch = replace(batch, loss_mask=torch.zeros_like(batch.loss_mask))
    totals = {}
    for row in range(2):
        learner.backward(batch.select(torch.tensor([row])), torch.tensor(4), torch.tensor(4), totals)
    return learner.model.policy.weight.grad.clone(), totals


def test_loss_and_gradient_by_hand(learner, model, prefixed):
    learner.plan = replace(learner.plan, local_mini_batch_size=2, accumulation_steps=2)
    learner.args.prefix_imitation, learner.args.temperature = 0.3, 0.5

    gradient, totals = gradient_of(learner, prefixed, policy_loss=False)

    # beta (1 / 2) (1 / 2) (-log p(0 | 3) - log p(1 | 0)), at temperature 1: d(-log p_k) / dz_j = p_j - 1[j = k]
    p = model.policy.weight.detach().softmax(-1)
    expected = torch.zeros(4, 4)
    expected[3] = 0.3 / 4 * (p[3] - torch.eye(4)[0])
    expected[0] = 0.3 / 4 * (p[0] - torch.eye(4)[1])
    torch.testing.assert_close(gradient, expected)
    mean = (p[3, 0].log() + p[0, 1].log()).item() / 2
    assert totals["curriculum/prefix_log_prob"] == (pytest.approx(mean), 1)
    assert totals["loss/imitation_avg"] == (pytest.approx(-mean / 2), 1.0)


def test_imitation_is_added_to_the_policy_loss(learner, prefixed):
    learner.plan = replace(learner.plan, local_mini_batch_size=2, accumulation_steps=2)
    learner.args.prefix_imitation = 0.3
    both, _ = gradient_of(learner, prefixed)
    alone, _ = gradient_of(learner, prefixed, policy_loss=False)
    policy, totals = gradient_of(learner, replace(prefixed, prefix_lengths=None))

    torch.testing.assert_close(both, alone + policy)
    assert "loss/imitation_avg" not in totals


def test_two_processes_and_micro_batches_give_the_mean_of_all_completions(learner, prefixed):
    # Each process backs the loss up times the number of processes, and their gradients are averaged.
    learner.plan = replace(learner.plan, local_mini_batch_size=1, accumulation_steps=1)
    learner.args.prefix_imitation, learner.accelerator.num_processes = 0.3, 2
    first, _ = gradient_of_row(learner, prefixed, 0)
    second, _ = gradient_of_row(learner, prefixed, 1)
    learner.accelerator.num_processes = 1
    learner.plan = replace(learner.plan, local_mini_batch_size=2, accumulation_steps=2)

    together, _ = gradient_of(learner, prefixed)

    torch.testing.assert_close((first + second) / 2, together)


def gradient_of_row(learner, batch, row):
    learner.optimizer.zero_grad()
    totals = {}
    learner.backward(batch.select(torch.tensor([row])), torch.tensor(4), torch.tensor(4), totals)
    grad = learner.model.policy.weight.grad
    return (torch.zeros(4, 4) if grad is None else grad.clone()), totals


def test_critic_warmup_trains_no_prefix(learner, model, prefixed):
    learner.args.prefix_imitation, learner.trains_policy = 0.3, False
    before = model.policy.weight.detach().clone()

    learner.update(prefixed)

    assert torch.equal(model.policy.weight, before)
    assert isinstance(model, Tiny)
