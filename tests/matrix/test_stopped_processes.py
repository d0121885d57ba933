"""Two processes evaluate together, and stop at the same update if one of them is stopped."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet
import pytest

from tests.matrix.test_processes import ROOT, TIMEOUT_S, free_port


pytestmark = [pytest.mark.sandbox, pytest.mark.slow, pytest.mark.timeout(2 * TIMEOUT_S)]


def run_two(moment: str, out: Path, *rest: str) -> tuple[int, list[dict]]:
    flags = ["--nproc_per_node", "2", "--master_addr", "127.0.0.1", "--master_port", free_port()]
    worker = ["-m", "tests.matrix.stopped_worker", moment, str(out), *rest]
    done = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", *flags, *worker],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "PYTHONWARNINGS": "ignore"},
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
    )
    ranks = [Path(f"{out}-rank{number}.json") for number in range(2)]
    assert all(path.exists() for path in ranks), done.stderr
    return done.returncode, [json.loads(path.read_text()) for path in ranks]


def test_signal_to_one_process_stops_both_and_run_resumes(tmp_path):
    out = tmp_path / "run"

    status, stopped = run_two("generate 1", out)
    assert status != 0
    assert [one["step"] for one in stopped] == [1, 1]
    assert [path.name for path in out.glob("checkpoint-*")] == ["checkpoint-1"]

    status, ranks = run_two("never", out, "resume")

    assert status == 0
    assert [one["step"] for one in ranks] == [3, 3]
    first, second = ([(entry["step"], entry["eval_pass@1"]) for entry in one["evaluations"]] for one in ranks)
    assert first[0][0] == 2  # by `eval_steps`; some releases of transformers evaluate at the end too
    assert first == second
    rows = pyarrow.parquet.read_table(out / "completions" / "completions_00003.parquet")
    assert rows.num_rows == 8  # of both processes


def test_sandbox_failure_in_one_process_stops_both(tmp_path):
    out = tmp_path / "run"

    status, stopped = run_two("disk full", out)

    assert status != 0
    assert [one["step"] for one in stopped] == [1, 1]
    for one in stopped:  # the second process has 4 of the 8 completions
        assert "4 of 8 programs could not be run" in one["error"]
        assert "No space left on device" in one["error"]
    assert [path.name for path in out.glob("checkpoint-*")] == ["checkpoint-1"]
