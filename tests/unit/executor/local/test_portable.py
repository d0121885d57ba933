"""Test the executor as on other systems than Linux, where each program gets a new fork server."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import stepcoder_trl
from stepcoder_trl.executor import CodeExecutor, ExecutorConfig
from stepcoder_trl.executor.local import server_process
from stepcoder_trl.executor.selftest import load, run_selftest
from stepcoder_trl.types import Outcome
from tests.unit.executor.samples import outcomes


pytestmark = [
    pytest.mark.sandbox,
    pytest.mark.skipif(sys.platform != "linux", reason="deletes names that only Linux has"),
]

DOUBLE = {"type": "call", "fn_name": "f", "inputs": [[1], [2]], "outputs": [2, 4]}
PROGRAMS = Path(__file__).parent / "programs"


@pytest.fixture
def portable(monkeypatch):
    monkeypatch.setattr(server_process, "PORTABLE", True)
    with CodeExecutor(ExecutorConfig(num_workers=1, timeout_s=2.0)) as executor:
        yield executor


def test_runs_without_names_of_linux():
    done = subprocess.run(
        [sys.executable, PROGRAMS / "other_system.py"],
        env={**os.environ, "PYTHONPATH": str(Path(stepcoder_trl.__file__).parents[1])},
        capture_output=True,
        text=True,
        check=True,
    )

    assert done.stdout.splitlines() == [
        "passed [1]",
        "runtime_error [1, 2, 3, 4]",
        "['rlimits', 'session']",
    ]
    assert "darwin, a subprocess per program" in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("program", "tests"),
    [
        ("def f(x):\n    return 2 * x\n", DOUBLE),
        ("def f(x):\n    while x > 1:\n        pass\n    return 2\n", {**DOUBLE, "timeout_s": 0.5}),
        ("def f(x):\n    return bytearray(2**40)\n", DOUBLE),
        ("import os\ndef f(x):\n    os.kill(os.getpid(), 11)\n", DOUBLE),
        ("import os\ndef f(x):\n    os._exit(0)\n", DOUBLE),
        ("def f(:", DOUBLE),
        ("print(open(0).read())\n", {"type": "stdio", "inputs": ["a", "b"], "outputs": ["a", "a"]}),
        ("import time\ntime.sleep(100)\n", {"type": "stdio", "inputs": [""], "outputs": ["a"], "timeout_s": 0.3}),
        ("def f(x):\n    return x\n", {"type": "assert", "setup": "", "asserts": ["assert f(1) == 1", "assert f(2)"]}),
    ],
)
def test_results_equal_those_on_linux(portable, executor, program, tests):
    found, expected = portable.run(program, tests), executor.run(program, tests)

    assert outcomes(found) == outcomes(expected)
    assert found.executed_lines == expected.executed_lines
    assert found.kept_lines == expected.kept_lines


def test_each_program_gets_a_new_server(portable, monkeypatch):
    starts = []
    bootstrap = server_process._bootstrap
    monkeypatch.setattr(server_process, "_bootstrap", lambda *fds: (starts.append(1), bootstrap(*fds))[1])

    executions = portable.run_many(["def f(x): return 2 * x"] * 3, [DOUBLE] * 3)

    assert [execution.outcome for execution in executions] == [Outcome.PASSED] * 3
    assert len(starts) == 3


def test_correct_programs_pass(portable):
    names = [case.name for case in load("correct")[::15]]

    report = run_selftest(portable, names)

    assert [finding for finding in report.findings if finding.kind == "correct"] == []
