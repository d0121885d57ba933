"""benchmarks/gpu.py with tiny sizes on a CPU."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest


pytestmark = [pytest.mark.slow, pytest.mark.sandbox]

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "gpu.py"
PARTS = ["precision", "grpo", "ppo", "generation", "arms"]


def run(folder: Path, *options: str) -> str:
    command = [sys.executable, str(SCRIPT), "--cpu", "--out", str(folder), *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=290)
    assert done.returncode == 0, done.stdout + done.stderr + "".join(log.read_text() for log in folder.glob("*.log"))
    return done.stdout


def test_all_parts_run_once_and_stay_within_tolerance(tmp_path):
    first, again = run(tmp_path), run(tmp_path)

    found = json.loads((tmp_path / "gpu.json").read_text())
    assert list(found["parts"]) == PARTS
    assert [line.partition(":")[0] for line in first.splitlines()[: len(PARTS)]] == PARTS
    assert "done" not in again
    assert {name: one["within_tolerance"] for name, one in found["parts"]["precision"].items()} == {
        "ppo": True,
        "grpo": True,
    }
    assert all(one["relative_difference"] > 0 for one in found["parts"]["precision"].values())
    assert (tmp_path / "tables.md").read_text() in first


def test_part_without_enough_time_is_left_out(tmp_path):
    command = [sys.executable, str(SCRIPT), "--cpu", "--out", str(tmp_path), "--minutes", "0", "--parts", "generation"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)

    assert done.returncode == 1
    assert done.stdout.startswith("generation: left out")
