"""Order of the jobs, names of their results, and configurations of the arms."""

from __future__ import annotations

import dataclasses

import pytest

from benchmarks.ablation.run import ppo_config
from benchmarks.ablation.settings import ARMS, MAIN, REINFORCED, SETTINGS, TIERS, Job, plan


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
@pytest.mark.parametrize("arm", REINFORCED)
def test_every_arm_makes_a_trainer_configuration(setting, arm, tmp_path):
    args = ppo_config(setting, ARMS[arm], 3, response_length=50, folder=str(tmp_path))

    assert args.per_device_train_batch_size * args.gradient_accumulation_steps == setting.rollouts_per_update
    assert (args.seed, args.response_length) == (3, 50)
    assert (args.curriculum == "off") == (arm in ("ppo", "no_cccs", "ppocoder", "rltf"))
    assert (args.fgo == "off") == (arm in ("ppo", "no_fgo", "ppocoder", "rltf"))
