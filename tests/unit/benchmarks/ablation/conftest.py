"""Folder of made-up runs."""

from __future__ import annotations

import pytest

from tests.unit.benchmarks.ablation.runs import write_run


@pytest.fixture
def work(tmp_path):
    """Folder with runs of three arms and three seeds."""
    for seed in (0, 1):
        write_run(tmp_path, "sft", seed, [0.1 * seed])
        write_run(tmp_path, "ppo", seed, [0.2, 0.4], cpu_s=2.0)
    write_run(tmp_path, "stepcoder", 0, [0.4, 0.8])
    write_run(tmp_path, "ppo", 7, [1.0, 1.0])  # its fine-tuned model was not evaluated
    return tmp_path
