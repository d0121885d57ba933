"""Order of the jobs, names of their results, and configurations of the arms."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from benchmarks.ablation.settings import ARMS, BY_GRPO, BY_PPO, MAIN, OUT, SETTINGS, SMOKE, TIERS, Job, plan
from benchmarks.ablation.trainers import binary_reward, grpo_config, ppo_config
from stepcoder_trl import Execution, Outcome


def test_plan_runs_first_arms_on_all_seeds_first():
    jobs = list(plan([MAIN], TIERS, [0, 1]))

    assert [(job.arm, job.seed) for job in jobs[:6]] == [
        *(("sft", 0), ("sft", 1)),
        *(("ppo", 0), ("stepcoder", 0), ("ppo", 1), ("stepcoder", 1)),
    ]
    assert sorted({job.arm for job in jobs}) == sorted(ARMS)


def test_changed_setting_has_another_file(tmp_path):
    other = dataclasses.replace(MAIN, updates=MAIN.updates + 1)
    reworded = dataclasses.replace(MAIN, reason="In other words.")

    assert Job(other, "ppo", 0).path(tmp_path) != Job(MAIN, "ppo", 0).path(tmp_path)
    assert Job(reworded, "ppo", 0).path(tmp_path) == Job(MAIN, "ppo", 0).path(tmp_path)


def test_changed_arm_has_another_file(tmp_path, monkeypatch):
    before = Job(MAIN, "ppo", 0).path(tmp_path)
    monkeypatch.setitem(ARMS, "ppo", dataclasses.replace(ARMS["ppo"], options={"curriculum": "off"}))

    assert Job(MAIN, "ppo", 0).path(tmp_path) != before


@pytest.mark.parametrize("setting", SETTINGS.values(), ids=SETTINGS)
@pytest.mark.parametrize("arm", BY_PPO)
def test_every_arm_by_ppo_makes_a_configuration(setting, arm, tmp_path):
    args = ppo_config(setting, ARMS[arm], 3, response_length=50, folder=str(tmp_path))

    assert args.per_device_train_batch_size * args.gradient_accumulation_steps == setting.rollouts_per_update
    assert (args.seed, args.response_length) == (3, 50)
    from_scratch = ("ppo", "no_cccs", "ppocoder", "rltf", "mean", "mean_fgo", "mean_tests", "mean_random", "then_mean")
    assert (args.curriculum == "off") == (arm in from_scratch)
    assert (args.fgo == "off") == (arm in ("ppo", "no_fgo", "ppocoder", "rltf", "mean", "then_mean"))
    assert (args.score_tests == "mean") == ("mean" in arm)


@pytest.mark.parametrize("setting", [MAIN, SMOKE], ids=["main", "smoke"])
@pytest.mark.parametrize("arm", BY_GRPO)
def test_every_arm_by_grpo_has_completions_and_steps_of_ppo(setting, arm, tmp_path):
    args = grpo_config(setting, ARMS[arm], 3, response_length=50, folder=str(tmp_path))

    assert args.generation_batch_size == setting.rollouts_per_update
    assert args.max_steps == 2 * setting.updates
    assert (args.seed, args.max_completion_length) == (3, 50)
    assert (args.curriculum == "off") == (arm in ("grpo", "grpo_scaled", "grpo_binary", "grpo_fgo"))
    assert (args.fgo == "off") == (arm in ("grpo", "grpo_scaled", "grpo_binary", "grpo_cccs"))
    assert (args.scale_rewards == "group") == (arm in ("grpo_scaled", "grpo_binary"))
    assert args.curriculum_leave_solved == (arm != "grpo_staying")


def test_arms_of_one_seed_are_run_before_the_next_seed():
    jobs = list(plan([MAIN], [BY_GRPO], [0, 1]))

    assert [(job.arm, job.seed) for job in jobs] == [(arm, seed) for seed in (0, 1) for arm in BY_GRPO]


def test_names_of_runs_by_ppo_do_not_depend_on_grpo(monkeypatch):
    by_ppo, by_grpo = Job(MAIN, "ppo", 0).name, Job(MAIN, "grpo", 0).name
    monkeypatch.setattr("benchmarks.ablation.settings.GRPO_COMMON", {"num_generations": 4})

    assert Job(MAIN, "ppo", 0).name == by_ppo
    assert Job(MAIN, "grpo", 0).name != by_grpo


def test_binary_reward_is_1_for_passing_programs_alone():
    outcomes = (Outcome.PASSED, Outcome.FAILED, Outcome.COMPILE_ERROR)
    executions = [Execution(outcome, (), frozenset(), frozenset(), 0.0, True) for outcome in outcomes]

    assert binary_reward([""] * 4, [*executions, None]) == [1.0, 0.0, 0.0, None]


def test_names_of_published_runs_do_not_change():
    published = json.loads((Path(__file__).parents[4] / OUT / "results.json").read_text(encoding="utf-8"))
    names = {run["job"] for run in published["options"]["runs"]}

    assert {Job(SETTINGS["options"], arm, 0).name for arm in ("sft", "imitation", "ppo", "measured")} <= names
