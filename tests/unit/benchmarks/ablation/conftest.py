"""Made-up results of runs."""

from __future__ import annotations

import pytest

from benchmarks.ablation.files import write_json
from benchmarks.ablation.settings import BY_GRPO, SMOKE, Job


def write_run(work, arm, seed, rates, cpu_s=1.0, setting=SMOKE):
    """Write a run with the same pass rate on both sets at each evaluation."""
    rollouts = setting.rollouts_per_update
    updates = [1, 2] if arm != "sft" else [0]
    points = [
        {"update": update, "rollouts": update * rollouts, "training": rate, "heldout": rate, "cpu_s": update * cpu_s}
        for update, rate in zip(updates, rates, strict=True)
    ]
    own = ("none_pass", "all_pass") if arm in BY_GRPO else ("kl",)
    names = ("reward_rate", "unexecuted_share", "mean_length", "scratch_share", *own)
    history = [dict.fromkeys(names, 0.5 * update) for update in updates] if arm != "sft" else []
    sft = {"loss": 0.1, "floor": 0.09}
    run = {"setting": setting.name, "arm": arm, "seed": seed, "points": points, "updates": history, "sft": sft}
    run |= {"machine": "abacus", "versions": {"python": "3"}, "job": Job(setting, arm, seed).name}
    run["material"] = f"of seed {seed}"
    if arm == "sft":
        run["start"] = {"pass_rate": 0.25 + 0.5 * seed, "unexecuted_share": 0.3}
    write_json(Job(setting, arm, seed).path(work), run)


@pytest.fixture
def work(tmp_path):
    """Folder with runs of three arms and three seeds."""
    for seed in (0, 1):
        write_run(tmp_path, "sft", seed, [0.1 * seed])
        write_run(tmp_path, "ppo", seed, [0.2, 0.4], cpu_s=2.0)
    write_run(tmp_path, "stepcoder", 0, [0.4, 0.8])
    write_run(tmp_path, "ppo", 7, [1.0, 1.0])  # its fine-tuned model was not evaluated
    return tmp_path
