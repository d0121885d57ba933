"""A folder of made-up runs."""

from __future__ import annotations

import pytest

from tests.unit.benchmarks.ablation.runs import finished


@pytest.fixture
def work(tmp_path):
    for seed in (0, 1):
        finished(tmp_path, "sft", seed, [0.1 * seed])
        finished(tmp_path, "ppo", seed, [0.2, 0.4], cpu_s=2.0)
    finished(tmp_path, "stepcoder", 0, [0.4, 0.8])
    finished(tmp_path, "ppo", 7, [1.0, 1.0])  # its fine-tuned model was not evaluated
    return tmp_path
