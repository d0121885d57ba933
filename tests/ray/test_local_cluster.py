"""A cluster that an executor starts, because there is none."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest


pytestmark = pytest.mark.sandbox
CODE = """
from stepcoder_trl.executor import RayExecutor

for number in range(2):  # the second uses the cluster that the first has started
    with RayExecutor() as executor:
        tests = {"type": "stdio", "inputs": [""], "outputs": ["7"]}
        print(number, *[one.outcome.value for one in executor.run_many(["print(7)", "print(8)"], [tests] * 2)])
"""


def test_executors_in_turn_share_a_cluster_that_ends_with_the_process(tmp_path):
    pytest.importorskip("ray", reason="`make test-ray` installs it")
    environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}

    done = subprocess.run(
        [sys.executable, "-c", CODE], capture_output=True, text=True, env=environment, timeout=200, check=False
    )

    assert done.stdout.splitlines() == ["0 passed failed", "1 passed failed"], done.stderr
    assert done.returncode == 0, done.stderr
