"""Groups of GRPO: unscored completions, and what a group tells."""

from __future__ import annotations

import math

import pytest
import torch

from stepcoder_trl.trainer.grpo_groups import (
    Group,
    advantage_scales,
    evaluation_metrics,
    fill_unscored,
    make_groups,
    total_scores,
    training_metrics,
)


NAN = math.nan


def test_total_leaves_out_functions_without_reward():
    rewards = torch.tensor([[1.0, 2.0], [NAN, 2.0], [NAN, NAN]])

    totals = total_scores(rewards, torch.tensor([1.0, 0.5]))

    assert totals[:2].tolist() == [2.0, 1.0]
    assert totals[2].isnan()


def test_unscored_completion_gets_the_mean_of_its_group():
    rewards = torch.tensor([[1.0], [NAN], [-0.5], [NAN], [NAN], [NAN]])
    unscored = rewards.isnan()[:, 0]

    filled = fill_unscored(rewards, unscored, size=3)

    assert filled[:3, 0].tolist() == [1.0, 0.25, -0.5]
    assert filled[3:].isnan().all()


def test_mean_of_a_group_does_not_change():
    rewards = torch.tensor([[1.0, 0.0], [NAN, NAN], [-0.6, 0.5], [-1.0, 0.25]])
    weights = torch.tensor([1.0, 2.0])

    filled = fill_unscored(rewards, rewards.isnan().all(1), size=4)

    scores = total_scores(rewards, weights)
    assert total_scores(filled, weights)[1].item() == pytest.approx(scores[[0, 2, 3]].mean().item())


RESULTS = [("a", 1, True), ("a", 1, None), ("b", 0, False), ("b", 0, False), ("c", 2, None), ("c", 2, None)]


def test_groups_know_passes_and_spread_of_scored_completions():
    groups = make_groups(RESULTS, [1.0, NAN, -0.3, -0.6, NAN, NAN], size=2)

    assert groups == (Group(1, (True,), False), Group(0, (False, False), True), Group(2, (), False))


@pytest.mark.parametrize(
    ("rule", "dropped"),
    [
        ("keep", [False, False, False, False]),
        ("drop_no_spread", [True, False, True, False]),
        ("drop_no_pass", [False, True, False, False]),
    ],
)
def test_rule_selects_dropped_groups(rule, dropped):
    solved, failing = Group(0, (True, True), False), Group(0, (False, False), True)
    unknown, mixed = Group(0, (), False), Group(0, (True, False), True)

    assert [group.is_dropped(rule) for group in (solved, failing, unknown, mixed)] == dropped


def test_metrics_have_one_value_per_group():
    groups = [Group(0, (True, True), False), Group(2, (False, False), True), Group(2, (), False)]

    assert training_metrics(groups, [0, 1, 2]) == {
        "groups/all_pass": [1.0, 0.0],
        "groups/none_pass": [0.0, 1.0],
        "groups/no_spread": [1.0, 0.0, 1.0],
        "groups/stage_0": [1.0, 0.0, 0.0],
        "groups/stage_1": [0.0, 0.0, 0.0],
        "groups/stage_2": [0.0, 1.0, 1.0],
    }
    assert evaluation_metrics(groups, 2) == {"pass@1": [1.0, 0.0], "pass@2": [1.0, 0.0]}


def test_evaluation_without_verdicts_has_no_values():
    assert evaluation_metrics([Group(0, (), False)], 1) == {"pass@1": []}


def test_scales_of_advantages_are_those_of_trl():
    groups = [[1.0, -0.3, None], [0.5, 0.5, 0.5]]

    assert advantage_scales(groups, "none") == [1.0, 1.0]
    # The unscored one counts as the mean, 0.35: the variance is (0.65^2 + 0.65^2) / 2.
    assert advantage_scales(groups, "group") == pytest.approx([0.65 + 1e-4, 1e-4])
    batch = torch.tensor([1.0, -0.3, 0.35, 0.5, 0.5, 0.5]).std().item() + 1e-4
    assert advantage_scales(groups, "batch") == pytest.approx([batch, batch])
