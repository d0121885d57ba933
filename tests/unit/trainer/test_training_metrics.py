from __future__ import annotations

import pytest
import torch

from stepcoder_trl.evaluation.generation import Generation
from stepcoder_trl.steps.programs import Feedback
from stepcoder_trl.trainer import training_metrics
from stepcoder_trl.trainer.ppo_math import policy_loss_terms, value_loss_terms
from stepcoder_trl.trainer.records import Experience, Rewards, Rollout, Scores, TokenScores, Update
from tests.unit.steps.samples import make_completion


def test_means_are_added_up_as_numerators_and_denominators():
    totals = {}

    training_metrics.add(totals, "a", 3.0, 2.0)
    training_metrics.add(totals, "a", 1.0, 6.0)

    assert totals == {"a": (4.0, 8.0)}


def test_losses_count_over_kept_or_valid_tokens():
    valid, kept = torch.tensor([[True, True, True]]), torch.tensor([[True, False, True]])
    zeros, ids = torch.zeros(1, 3), torch.zeros(1, 3, dtype=torch.long)
    batch = Experience(ids, valid, ids, torch.tensor([3]), valid, kept, zeros, zeros, zeros + 1, zeros + 1)
    # Ratios 2, 2 and 1: the first two are clipped at 1.2.
    policy = policy_loss_terms(torch.tensor([[2.0, 2.0, 1.0]]).log(), batch.log_probs, batch.advantages, 0.2)
    value = value_loss_terms(zeros, zeros, batch.returns, 0.2)
    terms = training_metrics.LossTerms(torch.tensor(-1.0), torch.tensor(0.5), policy, value, zeros + 3)
    totals = {}

    training_metrics.add_losses(totals, batch, terms, steps=0.25)

    assert totals["loss/policy_avg"] == (-1.0, 0.25)
    assert totals["policy/clipfrac_avg"] == (0.0 + 1.0, 2.0)
    assert totals["policy/entropy_avg"] == (9.0, 3.0)
    assert totals["val/ratio"] == pytest.approx((5.0, 3.0))
    assert totals["val/ratio_var"] == pytest.approx((2.0, 3.0))
    assert totals["val/clipfrac_avg"] == (0.0, 3.0)


def make_update(by_source):
    """Return an update of one completion without tests."""
    ones, zeros = torch.ones(1, 1, dtype=torch.bool), torch.zeros(1, 1)
    generation = Generation(zeros.long(), ones, zeros.long(), torch.tensor([1]), torch.tensor([True]))
    experience = Experience(zeros.long(), ones, zeros.long(), torch.tensor([1]), ones, ones, *[zeros] * 4)
    return Update(
        step=0,
        rollout=Rollout((make_completion("", ""),), generation),
        tokens=TokenScores(zeros, zeros, zeros),
        feedback=Feedback((None,)),
        scores=Scores(torch.zeros(1), torch.tensor([True]), by_source),
        rewards=Rewards(zeros, zeros),
        loss_mask=ones,
        experience=experience,
        metrics={},
    )


@pytest.mark.parametrize("with_tests", [False, True])
def test_keys_depend_only_on_the_dataset(with_tests):
    totals = training_metrics.update_totals(make_update({"length": (0.0,)}), 0.1, None, with_tests)

    assert ("executor/passed" in totals) == with_tests


def test_metrics_are_summed_over_processes():
    totals = {
        **training_metrics.update_totals(make_update({"length": (2.0,), "other": (None,)}), 0.1, 0, with_tests=False),
        "objective/non_score_reward": (1.0, 2.0),
        "val/ratio": (3.0, 2.0),
        "val/ratio_var": (1.0, 2.0),
        "custom/share": (1.0, 4.0),
    }

    metrics = training_metrics.finish_metrics(totals, make_update({}).experience, lambda tensor: 2 * tensor)

    assert metrics["custom/share"] == 0.25  # a mean
    assert metrics["val/num_eos_tokens"] == 2.0  # a sum: one of each process
    assert metrics["rewards/length"] == 2.0
    assert metrics["rewards/other"] == 0.0  # of nothing
    assert metrics["objective/rlhf_reward"] == 0.5
    assert metrics["val/ratio_var"] == 0.25


@pytest.mark.parametrize(
    ("name", "how"),
    [
        ("executor/infrastructure_errors", "sum"),
        ("val/num_eos_tokens", "sum"),
        ("curriculum/advanced", "last"),
        ("episode", "last"),
        ("executor/passed", "mean"),
        ("rewards/mine", "mean"),
        ("metric/of/a/user", "mean"),
    ],
)
def test_several_updates_become_one_value(name, how):
    assert training_metrics.over_updates(name) == how


def test_several_updates_are_summarized():
    history = [
        {"loss": 1.0, "lr": 0.2, "val/num_eos_tokens": 3.0, "curriculum/advanced": 1.0},
        {"loss": 2.0, "lr": 0.1, "val/num_eos_tokens": 4.0, "curriculum/advanced": 5.0, "rewards/new": 7.0},
    ]

    assert training_metrics.summarize(history) == {
        "loss": 1.5,
        "lr": 0.1,
        "val/num_eos_tokens": 7.0,
        "curriculum/advanced": 5.0,
        "rewards/new": 7.0,
    }
