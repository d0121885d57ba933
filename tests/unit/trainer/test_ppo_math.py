from __future__ import annotations

import math

import pytest
import torch

from stepcoder_trl.trainer import ppo_math


def test_log_probability_by_hand():
    # softmax of (0, ln 3) is (1/4, 3/4); at temperature 1/2 the scores are (0, ln 9): (1/10, 9/10).
    logits = torch.tensor([[[0.0, math.log(3)], [0.0, math.log(3)]]])
    ids = torch.tensor([[0, 1]])

    at_1 = ppo_math.token_log_probs(logits, ids)
    at_half = ppo_math.token_log_probs(logits, ids, temperature=0.5)

    torch.testing.assert_close(at_1.exp(), torch.tensor([[0.25, 0.75]]))
    torch.testing.assert_close(at_half.exp(), torch.tensor([[0.1, 0.9]]))


def test_log_probabilities_are_float32_and_carry_the_gradient():
    logits = torch.randn(2, 3, 5, dtype=torch.bfloat16, requires_grad=True)
    ids = torch.randint(5, (2, 3))

    log_probs = ppo_math.token_log_probs(logits, ids, 0.7)
    log_probs.sum().backward()

    plain = (logits.detach().float() / 0.7).log_softmax(-1).gather(-1, ids[..., None]).squeeze(-1)
    assert log_probs.dtype is torch.float32
    torch.testing.assert_close(log_probs.detach(), plain)
    assert logits.grad.abs().sum() > 0


def test_gradient_of_log_probabilities_equals_autograd():
    ids, weights = torch.randint(7, (2, 3)), torch.randn(2, 3)
    ours = torch.randn(2, 3, 7, requires_grad=True)
    plain = ours.detach().clone().requires_grad_()

    (ppo_math.token_log_probs(ours, ids, 0.7) * weights).sum().backward()
    ((plain / 0.7).log_softmax(-1).gather(-1, ids[..., None]).squeeze(-1) * weights).sum().backward()

    torch.testing.assert_close(ours.grad, plain.grad)


def test_entropy_of_a_uniform_distribution_is_the_logarithm_of_its_size():
    logits = torch.zeros(1, 2, 8)
    logits[0, 1, 3] = 100.0

    entropy = ppo_math.token_entropy(logits)

    torch.testing.assert_close(entropy, torch.tensor([[math.log(8), 0.0]]))


def test_lengths_mark_the_first_positions():
    mask = ppo_math.length_mask(torch.tensor([0, 2, 3]), 3)

    assert mask.tolist() == [[False, False, False], [True, True, False], [True, True, True]]


def test_kl_estimators():
    log_probs, reference = torch.tensor([[math.log(0.5)]]), torch.tensor([[math.log(0.25)]])

    k1 = ppo_math.kl_divergence(log_probs, reference, "k1")
    k3 = ppo_math.kl_divergence(log_probs, reference, "k3")

    # log(0.5 / 0.25) = ln 2; (1/2 - 1) + ln 2.
    torch.testing.assert_close(k1, torch.tensor([[math.log(2)]]))
    torch.testing.assert_close(k3, torch.tensor([[math.log(2) - 0.5]]))


def test_score_is_given_at_the_last_valid_token():
    kl = torch.tensor([[1.0, 2.0, 9.0], [1.0, 1.0, 1.0]])

    rewards = ppo_math.token_rewards(kl, torch.tensor([10.0, -1.0]), torch.tensor([2, 3]), kl_coef=0.1)

    torch.testing.assert_close(rewards, torch.tensor([[-0.1, 9.8, 0.0], [-0.1, -0.1, -1.1]]))


def test_advantages_by_hand():
    # gamma 1, lambda 1/2. Row 1: deltas 0 + 2 - 1 = 1 and 4 - 2 = 2; advantages 1 + 2/2 = 2 and 2.
    # Row 2 ends after one token: 3 - 1 = 2.
    rewards = torch.tensor([[0.0, 4.0], [3.0, 7.0]])
    values = torch.tensor([[1.0, 2.0], [1.0, 5.0]])
    valid = torch.tensor([[True, True], [True, False]])

    advantages = ppo_math.generalized_advantages(rewards, values, valid, gamma=1.0, lam=0.5)

    assert advantages.tolist() == [[2.0, 2.0], [2.0, 0.0]]


@pytest.mark.parametrize(("gamma", "lam"), [(1.0, 0.95), (0.9, 0.5), (0.99, 1.0), (1.0, 0.0)])
def test_advantages_equal_the_sum_of_discounted_errors(gamma, lam):
    torch.manual_seed(0)
    rewards, values = torch.randn(4, 7, dtype=torch.float64), torch.randn(4, 7, dtype=torch.float64)
    lengths = torch.tensor([7, 3, 1, 5])
    valid = ppo_math.length_mask(lengths, 7)

    advantages = ppo_math.generalized_advantages(rewards, values, valid, gamma, lam)

    for row, length in enumerate(lengths.tolist()):
        v = [*values[row, :length].tolist(), 0.0]
        deltas = [rewards[row, t].item() + gamma * v[t + 1] - v[t] for t in range(length)]
        for t in range(length):
            slow = sum((gamma * lam) ** (k - t) * deltas[k] for k in range(t, length))
            assert advantages[row, t].item() == pytest.approx(slow)
        assert advantages[row, length:].abs().sum() == 0


def test_padding_does_not_change_the_advantages():
    rewards, values = torch.randn(2, 4), torch.randn(2, 4)
    valid = ppo_math.length_mask(torch.tensor([2, 4]), 4)
    other = values.clone()
    other[0, 2:] = math.nan

    a = ppo_math.generalized_advantages(rewards, values, valid, 1.0, 0.95)
    b = ppo_math.generalized_advantages(rewards, other, valid, 1.0, 0.95)

    assert torch.equal(a, b)


def test_masked_mean_of_an_empty_mask_is_0():
    values = torch.tensor([math.nan, 2.0, 4.0])

    assert ppo_math.masked_mean(values, torch.tensor([False, True, True])) == 3
    assert ppo_math.masked_mean(values, torch.tensor([False, False, False])) == 0
    assert ppo_math.masked_sum(values, torch.tensor([False, False, False])) == 0


def test_whitening_by_hand():
    # Marked: 1, 3. Mean 2, unbiased variance 2. The unmarked 4 is shifted and scaled with them.
    values, mask = torch.tensor([1.0, 3.0, 4.0]), torch.tensor([True, True, False])

    whitened = ppo_math.masked_whiten(values, mask)
    scaled = ppo_math.masked_whiten(values, mask, shift_mean=False)

    root = math.sqrt(2)
    torch.testing.assert_close(whitened, torch.tensor([-1 / root, 1 / root, 2 / root]))
    torch.testing.assert_close(scaled, whitened + 2)


@pytest.mark.parametrize("mask", [[False, False], [True, False]])
def test_fewer_than_two_tokens_are_not_whitened(mask):
    values = torch.tensor([5.0, -7.0])

    assert torch.equal(ppo_math.masked_whiten(values, torch.tensor(mask)), values)


def test_whitening_over_two_processes_equals_whitening_in_one():
    torch.manual_seed(1)
    values, mask = torch.randn(2, 6, dtype=torch.float64), torch.rand(2, 6) > 0.3
    together = ppo_math.masked_whiten(values, mask)

    # Sums of the other process, in the order of the requests.
    mean = ppo_math.masked_mean(values, mask)
    first = torch.stack([ppo_math.masked_sum(values[1], mask[1]), mask[1].sum()])
    second = torch.stack([ppo_math.masked_sum((values[1] - mean) ** 2, mask[1]), mask[1].sum()])
    others = iter([first, second])
    alone = ppo_math.masked_whiten(values[0], mask[0], reduce=lambda tensor: tensor + next(others))

    torch.testing.assert_close(alone, together[0])


def test_policy_loss_by_hand():
    # Ratios 1.5 and 0.5, clip 0.2. Advantage 2: max(-3, -2.4); advantage -2: max(1, 1.6). Advantage 2 at 0.5 is not
    # clipped: max(-1, -1.6).
    old = torch.zeros(1, 3)
    new = torch.tensor([[1.5, 0.5, 0.5]]).log()

    terms = ppo_math.policy_loss_terms(new, old, torch.tensor([[2.0, -2.0, 2.0]]), cliprange=0.2)

    torch.testing.assert_close(terms.loss, torch.tensor([[-2.4, 1.6, -1.0]]))
    assert terms.clipped.tolist() == [[True, True, False]]
    torch.testing.assert_close(terms.approx_kl, 0.5 * new**2)
    torch.testing.assert_close(terms.ratio, new.exp())


def test_value_loss_by_hand():
    # Old value 0, clip 0.2, return 1. Value 0.1: 0.81 both ways. Value 0.9: clipped to 0.2, 0.64 beats 0.01.
    values, zeros, ones = torch.tensor([[0.1, 0.9]]), torch.zeros(1, 2), torch.ones(1, 2)

    terms = ppo_math.value_loss_terms(values, zeros, ones, cliprange_value=0.2)

    torch.testing.assert_close(terms.loss, torch.tensor([[0.405, 0.32]]))
    assert terms.clipped.tolist() == [[False, True]]


def test_value_within_its_limits_is_not_counted_as_clipped():
    generator = torch.Generator().manual_seed(0)
    old = torch.rand(1, 10_000, generator=generator)
    values = old + 0.19 * (2 * torch.rand(1, 10_000, generator=generator) - 1)

    terms = ppo_math.value_loss_terms(values, old, torch.rand(1, 10_000, generator=generator), cliprange_value=0.2)

    assert not terms.clipped.any()


def test_explained_variance():
    returns, mask = torch.tensor([1.0, 2.0, 3.0, 99.0]), torch.tensor([True, True, True, False])

    assert ppo_math.explained_variance(returns, returns, mask) == 1
    assert ppo_math.explained_variance(torch.full((4,), 5.0), returns, mask) == 0
    assert ppo_math.explained_variance(returns, torch.ones(4), mask) == 0  # constant returns


@pytest.mark.parametrize(("gamma", "lam"), [(1.0, 0.95), (0.9, 0.5), (1.0, 1.0)])
def test_per_test_advantages_are_those_of_each_test_by_itself(gamma, lam):
    # Two completions of five and three tokens, three tests. The slow way: one advantage for each test's reward.
    torch.manual_seed(0)
    lengths, values, kl = torch.tensor([5, 3]), torch.randn(2, 5), torch.randn(2, 5)
    rewards, ran = torch.tensor([[1.0, -0.3, -0.6], [-1.0, 1.0, 1.0]]), torch.rand(2, 3, 5) < 0.6
    valid, scores = ppo_math.length_mask(lengths, 5), rewards.mean(1)

    def advantages(score):
        return ppo_math.generalized_advantages(
            ppo_math.token_rewards(kl, score, lengths, 0.1), values, valid, gamma, lam
        )

    each = torch.stack([advantages(rewards[:, test]) for test in range(3)], 1)
    expected = (each * ran).mean(1)

    deviations = ((rewards - scores[:, None])[..., None] * ran).mean(1) * valid
    shares = ran.float().mean(1)
    found = ppo_math.per_test_advantages(advantages(scores), shares, deviations, lengths, gamma * lam)

    torch.testing.assert_close(found, expected)


def test_whitening_moves_every_test_alike_by_hand():
    # sum A = 3 and sum kappa = 2, so c = 1.5, and A - kappa c = (0.5, -0.25, -0.25).
    advantages, shares = torch.tensor([2.0, 0.5, 0.5, 9.0]), torch.tensor([1.0, 0.5, 0.5, 1.0])
    mask = torch.tensor([True, True, True, False])

    found = ppo_math.whiten_tests(advantages, shares, mask)

    # Squares: 0.25 + 0.0625 + 0.0625 = 0.375, divided by 2; its root is 0.4330127.
    torch.testing.assert_close(found[:3], torch.tensor([0.5, -0.25, -0.25]) / 0.4330127)
    torch.testing.assert_close(found[:3].sum(), torch.tensor(0.0))


def test_whitening_of_one_test_is_the_plain_one():
    torch.manual_seed(0)
    advantages, mask = torch.randn(3, 7), torch.rand(3, 7) < 0.5

    assert torch.equal(
        ppo_math.whiten_tests(advantages, mask.float(), mask)[mask], ppo_math.masked_whiten(advantages, mask)[mask]
    )
    alone = torch.tensor([True, False])
    assert ppo_math.whiten_tests(torch.ones(2), torch.ones(2), alone).tolist() == [1.0, 1.0]
