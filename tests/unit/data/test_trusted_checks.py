"""Test how many rows of the public datasets have trusted tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from stepcoder_trl import load_problems
from stepcoder_trl.executor.verdict.judge import Untrusted
from stepcoder_trl.executor.verdict.limits import Limits
from stepcoder_trl.executor.verdict.prepare import prepare_job


# The checks of untrusted rows call functions of the prompt (`poly`, `encode_cyclic`, `encode_shift`) or build lists
# and trees.
@pytest.mark.parametrize(
    ("name", "rows", "untrusted"),
    [
        ("humaneval.jsonl", 82, 3),
        ("mbpp.jsonl", 474, 1),
        ("leetcode_v0.2.0_test.jsonl", 100, 0),
        pytest.param("leetcode_v0.2.0_train.jsonl.gz", 944, 59, marks=pytest.mark.slow),
        pytest.param("leetcode_v0.3.1_test.jsonl.gz", 112, 1, marks=pytest.mark.slow),
    ],
)
def test_number_of_untrusted_rows(data_dir: Path, name: str, rows: int, untrusted: int) -> None:
    problems = load_problems(data_dir / name)

    jobs = [prepare_job("", problem.parsed_tests, Limits(timeout_s=1.0)) for problem in problems]

    assert len(jobs) == rows
    assert sum(any(isinstance(judge, Untrusted) for judge in job.tests.judges) for job in jobs) == untrusted
