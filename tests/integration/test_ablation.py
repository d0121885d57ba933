"""Short runs of benchmarks/ablation with five arms, each in a process of its own."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.ablation import run as one_run
from benchmarks.ablation.concepts import trace
from benchmarks.ablation.gradients import MASKS, MOMENTS, compare, probe
from benchmarks.ablation.settings import ARMS, SMOKE, Job


pytestmark = [pytest.mark.slow, pytest.mark.sandbox]

CHECKOUT = Path(__file__).parents[2]


def run_smoke(work: Path) -> str:
    command = [sys.executable, "-m", "benchmarks.ablation", "--smoke", "--work", str(work)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=290, cwd=CHECKOUT)
    logs = "\n".join(log.read_text() for log in work.rglob("*.log"))
    assert done.returncode == 0, done.stdout + done.stderr + logs
    return done.stdout


def test_smoke_grid_compares_five_arms_and_continues(tmp_path):
    first = run_smoke(tmp_path)
    (lost,) = tmp_path.glob("runs/*/ppo-*-seed0.json")
    lost.unlink()
    second = run_smoke(tmp_path)

    assert first.count("done after") == 5
    assert second.count("done after") == 1
    assert "smoke, PPO, seed 0: done" in second
    results = json.loads((tmp_path / "smoke" / "results.json").read_text())["smoke"]
    assert {arm: figures["seeds"] for arm, figures in results["arms"].items()} == {
        "sft": [0],
        "imitation": [0],
        "ppo": [0],
        "stepcoder": [0],
        "grpo_stepcoder": [0],
    }
    assert results["start"]["pass_rate"]["n"] == 1
    for run in results["runs"]:
        if run["arm"] != "sft":
            assert [point["rollouts"] for point in run["points"]] == [4, 8]
            assert all(update["cpu_s"] > 0 for update in run["updates"])


def test_fine_tuning_on_the_few_solutions_comes_first(tmp_path, monkeypatch):
    monkeypatch.setitem(ARMS, "then_stepcoder", dataclasses.replace(ARMS["then_stepcoder"], imitates_first=1))

    found = one_run.run(Job(dataclasses.replace(SMOKE, num_solutions=1), "then_stepcoder", 0), tmp_path)

    # One update of each kind. Three of the four problems have no solution, so they have no curriculum.
    assert [sorted(update) for update in found["imitated"]] == [["cpu_s", "loss"]]
    assert [update["scratch_share"] for update in found["updates"]] == [0.75]
    assert [point["rollouts"] for point in found["points"]] == [4, 8]
    assert found["points"][0]["cpu_s"] < found["points"][1]["cpu_s"]


@pytest.mark.parametrize("moment", MOMENTS)
def test_every_mask_gives_same_gradient_if_nothing_compiles(tmp_path, moment):
    found = probe(SMOKE, 0, tmp_path, 3, moment)

    # After twenty steps of fine-tuning nothing compiles, so every token is kept.
    assert found["unexecuted_share"] == 0
    assert {tuple(map(tuple, products)) for products in found["products"].values()} == {
        tuple(map(tuple, found["products"]["off off"]))
    }
    assert all(found["products"]["off off"][i][i] > 0 for i in range(3))
    assert [compare(found["products"], mask)["gain"]["mean"] for mask in MASKS] == [1, 1, 1]


def test_trace_counts_lines_of_each_concept(tmp_path):
    rows = trace(Job(SMOKE, "stepcoder", 0), tmp_path)

    # Two updates of four completions. They start at the last of two chains of two arms and write three lines.
    assert sum(row["written"] for row in rows) == 2 * 4 * 3
    assert {row["chain"] for row in rows} == {1}
    assert {tuple(row["updates"]) for row in rows} == {(1, 2)}
    for row in rows:
        assert row["right"] + sum(row["instead"].values()) == row["written"]
