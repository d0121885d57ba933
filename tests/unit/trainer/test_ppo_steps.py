"""Steps of an update, on hand-made tensors."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from stepcoder_trl.evaluation.generation import Generation
from stepcoder_trl.steps.credit import Credit
from stepcoder_trl.trainer import ppo_steps
from stepcoder_trl.trainer.records import Scores, TokenScores


LENGTHS = torch.tensor([2, 1])
GENERATION = Generation(
    query_ids=torch.zeros(2, 1, dtype=torch.long),
    query_mask=torch.ones(2, 1, dtype=torch.bool),
    response_ids=torch.zeros(2, 2, dtype=torch.long),
    lengths=LENGTHS,
    stopped=torch.tensor([True, False]),
)
TOKENS = TokenScores(torch.tensor([[0.5, 0.0], [0.25, 0.0]]), torch.zeros(2, 2), torch.zeros(2, 2))
ARGS = SimpleNamespace(
    kl_coef=0.1, kl_estimator="k1", error_token_penalty=0.3, whiten_rewards=False, gamma=1.0, lam=1.0,
    whiten_advantages=False,
)  # fmt: skip


def scores_of(*values):
    tensor, scored = ppo_steps.adjust_scores(values, GENERATION.stopped, None, None)
    return Scores(tensor, scored, {})


def test_penalty_is_subtracted_before_the_clip_from_completions_with_a_score():
    values, scored = ppo_steps.adjust_scores([1.0, -0.3, None], torch.tensor([True, False, False]), 0.5, 0.6)

    assert values.tolist() == pytest.approx([0.6, -0.6, 0.0])
    assert scored.tolist() == [True, True, False]


def test_score_is_given_at_the_last_valid_token():
    rewards = ppo_steps.reward_tokens(GENERATION, TOKENS, scores_of(1.0, 2.0), None, ARGS, lambda tensor: tensor)

    assert rewards.kl.tolist() == [[0.5, 0.0], [0.25, 0.0]]
    torch.testing.assert_close(rewards.rewards, torch.tensor([[-0.05, 1.0], [1.975, 0.0]]))


def test_blamed_tokens_of_scored_completions_lose_the_penalty():
    blamed = [[True, False], [True]]

    plain = ppo_steps.reward_tokens(GENERATION, TOKENS, scores_of(1.0, None), None, ARGS, lambda tensor: tensor)
    taken = ppo_steps.reward_tokens(GENERATION, TOKENS, scores_of(1.0, None), blamed, ARGS, lambda tensor: tensor)

    torch.testing.assert_close(plain.rewards - taken.rewards, torch.tensor([[0.3, 0.0], [0.0, 0.0]]))


def test_completions_without_a_score_are_not_valid():
    scores = scores_of(1.0, None)
    rewards = ppo_steps.reward_tokens(GENERATION, TOKENS, scores, None, ARGS, lambda tensor: tensor)

    experience = ppo_steps.make_experience(
        GENERATION, TOKENS, rewards, scores, torch.ones(2, 2, dtype=torch.bool), ARGS, lambda tensor: tensor
    )

    assert experience.valid_mask.tolist() == [[True, True], [False, False]]
    torch.testing.assert_close(experience.advantages[0], torch.tensor([0.95, 1.0]))  # discounted sums


def test_clip_acts_on_the_score_and_not_on_the_part_of_each_test():
    """Tests of 1 and -0.6 have the mean 0.2, which is clipped to 0.1. The first token ran in the first test alone."""
    generation = replace(GENERATION, lengths=torch.tensor([2, 2]), stopped=torch.tensor([True, True]))
    tokens = TokenScores(torch.zeros(2, 2), torch.zeros(2, 2), torch.zeros(2, 2))
    values, scored = ppo_steps.adjust_scores([0.2, 0.2], generation.stopped, None, 0.1)
    scores = Scores(values, scored, {})
    rewards = ppo_steps.reward_tokens(generation, tokens, scores, None, ARGS, lambda tensor: tensor)
    kept = torch.ones(2, 2, dtype=torch.bool)
    credit = Credit(torch.tensor([[0.5, 1.0], [1.0, 1.0]]), torch.tensor([[0.4, 0.0], [0.0, 0.0]]))

    found = ppo_steps.make_experience(
        generation, tokens, rewards, scores, kept, ARGS, lambda tensor: tensor, credit
    ).advantages

    # 0.5 * 0.1 + 0.5 * (1 - 0.2); a token that both tests ran has the clipped score.
    torch.testing.assert_close(found, torch.tensor([[0.45, 0.1], [0.1, 0.1]]))
