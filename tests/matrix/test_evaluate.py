"""`stepcoder-trl evaluate` in two processes: each samples its share, and one scores all."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest


pytestmark = [pytest.mark.sandbox, pytest.mark.slow]

ENVIRONMENT = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
TWO_PROCESSES = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2")


def evaluate(folder, out, *flags, launcher=()):
    command = [sys.executable, *launcher, "-m", "stepcoder_trl", "evaluate", "--problems", "problems.jsonl"]
    done = subprocess.run(
        [*command, "--out", out, *flags], cwd=folder, env=ENVIRONMENT, capture_output=True, text=True, timeout=240
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_two_processes_give_same_files_as_one(folder):
    drawing = ["--model", "model", "--max-new-tokens", "6", "--temperature", "1", "--batch-size", "2"]
    evaluate(folder, "one", *drawing)

    printed = evaluate(folder, "two", *drawing, launcher=TWO_PROCESSES)

    parts = [(folder / "two" / "drawn" / f"part-{rank}.jsonl").read_text().splitlines() for rank in range(2)]
    assert [len(part) for part in parts] == [4, 4]
    for name in ("samples.jsonl", "results.jsonl", "summary.json"):
        assert (folder / "two" / name).read_text() == (folder / "one" / name).read_text()
    assert printed.count("8 samples of 8 problems") == 1

    again = evaluate(folder, "two", "--score-only", launcher=TWO_PROCESSES)
    assert again.count("8 samples of 8 problems") == 1
