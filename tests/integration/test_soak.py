"""Short runs of benchmarks/soak.py, with and without killed workers."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.processes import ON_LINUX


pytestmark = [pytest.mark.slow, pytest.mark.sandbox, ON_LINUX]

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "soak.py"


def run_soak(out: Path, *options: str) -> dict:
    command = [sys.executable, str(SCRIPT), "--out", str(out), *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(out.read_text())


def test_soak_passes_and_continues(tmp_path):
    out = tmp_path / "soak.json"

    run_soak(out, "--programs", "200")
    legs = run_soak(out, "--programs", "300")["legs"]

    assert [leg["programs"] for leg in legs] == [200, 100]
    assert legs[0]["hostile"] > 0
    assert legs[0]["outcomes"]["passed"] > 150


def test_soak_loses_no_result_when_workers_are_killed(tmp_path):
    (leg,) = run_soak(tmp_path / "soak.json", "--programs", "150", "--kills", "40")["legs"]

    assert leg["programs"] == sum(leg["outcomes"].values()) == 150
    assert sum(leg["kills"].values()) >= 3
