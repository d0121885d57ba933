"""The executor on other systems than Linux, as far as Linux can stand in for one: a fork server for every program."""

from __future__ import annotations

import subprocess
import sys

import pytest

from stepcoder_trl.executor import CodeExecutor, ExecutorConfig
from stepcoder_trl.executor.local import server_process
from stepcoder_trl.executor.selftest import load, run_selftest
from stepcoder_trl.types import Outcome


pytestmark = [
    pytest.mark.sandbox,
    pytest.mark.skipif(sys.platform != "linux", reason="takes away what Linux has"),
]

DOUBLE = {"type": "call", "fn_name": "f", "inputs": [[1], [2]], "outputs": [2, 4]}
# Calls and constants that macOS has not.
WITHOUT_LINUX = """
import os, select, signal, sys, resource, time
sys.platform = "darwin"
for module, names in {
    os: ("memfd_create", "pidfd_open", "sched_getaffinity", "MFD_CLOEXEC", "O_PATH", "waitid"),
    signal: ("SIGRTMAX", "SIGRTMIN"),
    select: ("epoll",),
    resource: ("RLIMIT_SIGPENDING", "RLIMIT_NPROC", "prlimit"),
}.items():
    for name in names:
        if hasattr(module, name):
            delattr(module, name)
"""
ON_ANOTHER_SYSTEM = f"""
without_linux = {WITHOUT_LINUX!r}
import ctypes, random, tempfile, threading, asyncio, logging, subprocess
exec(without_linux)
from stepcoder_trl.executor import CodeExecutor, ExecutorConfig
from stepcoder_trl.executor.local import server_process
import stepcoder_trl.executor.server.main, stepcoder_trl.executor.server.once, stepcoder_trl.executor.remote.executor
original = server_process._bootstrap
server_process._bootstrap = lambda *fds: (
    "import ctypes, random, tempfile, threading, asyncio, platform; " + f"exec({{without_linux!r}}); " + original(*fds)
)
with CodeExecutor(ExecutorConfig(num_workers=1)) as executor:
    for program in ("def f(x): return 2 * x", "def f(x):\\n    if x > 1:\\n        return 1 / 0\\n    return 2"):
        execution = executor.run(program, {DOUBLE!r})
        print(execution.outcome, sorted(execution.executed_lines))
    print([layer for layer, there in executor.layers.items() if there])
"""


@pytest.fixture
def portable(monkeypatch):
    monkeypatch.setattr(server_process, "PORTABLE", True)
    with CodeExecutor(ExecutorConfig(num_workers=1, timeout_s=2.0)) as executor:
        yield executor


def test_nothing_of_linux_is_needed():
    done = subprocess.run([sys.executable, "-c", ON_ANOTHER_SYSTEM], capture_output=True, text=True, check=True)

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
def test_answers_are_those_of_the_fork_servers(portable, executor, program, tests):
    there, here = portable.run(program, tests), executor.run(program, tests)

    assert [test.outcome for test in there.tests] == [test.outcome for test in here.tests]
    assert there.executed_lines == here.executed_lines
    assert there.kept_lines == here.kept_lines


def test_every_program_gets_a_process_of_its_own(portable):
    program, tests = "import os\nprint(os.getppid())\n", {"type": "stdio", "inputs": [""], "outputs": ["0"]}
    starts = []
    original = server_process.subprocess.Popen

    class Counted(original):
        def __init__(self, *arguments, **keywords):
            starts.append(1)
            super().__init__(*arguments, **keywords)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(server_process.subprocess, "Popen", Counted)
        for _ in range(3):
            assert portable.run(program, tests).outcome is Outcome.FAILED

    assert len(starts) == 3


def test_correct_programs_pass(portable):
    names = [case.name for case in load("correct")[::15]]

    report = run_selftest(portable, names)

    assert [finding for finding in report.findings if finding.kind == "correct"] == []
