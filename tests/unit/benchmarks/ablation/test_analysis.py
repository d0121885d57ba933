"""Curves, means and differences of runs."""

from __future__ import annotations

import dataclasses
import json

import pytest

from benchmarks.ablation.analysis import change_of_gain, curves, difference, read_runs, summarize, values
from benchmarks.ablation.files import write_json
from benchmarks.ablation.report import PAIRS, gains_table
from benchmarks.ablation.settings import SMOKE, Job
from tests.unit.benchmarks.ablation.conftest import write_run


def test_curves_start_at_fine_tuned_model(work):
    runs = read_runs(SMOKE, work)

    assert runs.curve("ppo", 1, "heldout") == [(0, 0.1), (4, 0.2), (8, 0.4)]
    assert values(runs, "ppo", "curve", "heldout") == pytest.approx([0.2, 0.225])
    assert [value.mean for _, value in curves(runs, "ppo", "training")] == pytest.approx([0.05, 0.2, 0.4])


def test_arms_are_compared_on_common_seeds(work):
    found = difference(read_runs(SMOKE, work), "stepcoder", "ppo", "end", "training")

    assert found["mean"] == pytest.approx(0.4)
    assert (found["n"], found["above"], found["relative"]) == (1, 1, 1.0)
    assert found["low"] is None


def test_curves_by_cpu_time_end_with_cheaper_run(work):
    found = difference(read_runs(SMOKE, work), "stepcoder", "ppo", "curve_by_cpu", "training")

    # Two CPU seconds: StepCoder's both evaluations, PPO's first.
    assert found["mean"] == pytest.approx((0.2 + 0.6) / 2 - 0.1)


def test_summary_counts_seeds_whose_curriculum_ended(work):
    training = summarize(read_runs(SMOKE, work), PAIRS)["training"]

    # At scratch are half of the problems after the first update, all after the second.
    assert training["ppo"]["scratch_reached_seeds"] == 2
    assert training["ppo"]["reward_rate"] == 0.75


def test_runs_from_another_model_are_left_out(work, capsys):
    path = Job(SMOKE, "ppo", 1).path(work)
    write_json(path, {**json.loads(path.read_text()), "material": "another"})

    assert list(read_runs(SMOKE, work).by_arm["ppo"]) == [0]
    assert "smoke, PPO, seed 1: left out" in capsys.readouterr().out


def test_difference_over_given_number_of_rollouts(work):
    write_run(work, "no_fgo", 0, [0.3, 0.5])
    runs = read_runs(SMOKE, work)

    # Up to the first evaluation the curves rise from 0 to 0.4 and 0.3, up to the second to 0.8 and 0.5.
    assert difference(runs, "stepcoder", "no_fgo", "curve", "heldout", 4)["mean"] == pytest.approx(0.05)
    assert difference(runs, "stepcoder", "no_fgo", "curve", "heldout")["mean"] == pytest.approx((0.05 + 0.2) / 2)
    assert difference(runs, "stepcoder", "no_cccs", "curve", "heldout") is None


def test_change_of_gain_between_settings_is_paired_by_seed(work):
    other, masked = dataclasses.replace(SMOKE, name="other", training_tests=1), ("no_cccs", "ppo")
    for arm, rates in (("sft", [0.0]), ("ppo", [0.5, 0.7]), ("no_cccs", [0.4, 0.5])):
        write_run(work, arm, 0, rates, setting=other)
    write_run(work, "no_cccs", 0, [0.3, 0.5])
    runs, others = read_runs(other, work), read_runs(SMOKE, work)
    change = change_of_gain(runs, others, masked, "end", "heldout", 8)
    by_another_model = {seed: {**run, "material": "another"} for seed, run in others.by_arm["sft"].items()}
    unlike = dataclasses.replace(others, by_arm={**others.by_arm, "sft": by_another_model})

    # The other seed of SMOKE cannot be paired.
    assert (change["mean"], change["n"]) == (pytest.approx((0.5 - 0.7) - (0.5 - 0.4)), 1)
    assert "| smoke - other | held-out |" in gains_table([runs, others])
    assert change_of_gain(runs, others, ("stepcoder", "ppo"), "end", "heldout", 8) is None
    assert change_of_gain(runs, unlike, masked, "end", "heldout", 8) is None
    assert "paired by seed" not in gains_table([runs, unlike])
