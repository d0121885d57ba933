"""Test that a program cannot keep the fork server waiting."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from types import SimpleNamespace
from typing import Any

import pytest

from stepcoder_trl import CodeExecutor, ExecutorConfig, Outcome
from stepcoder_trl.executor.selftest.corpus import load
from stepcoder_trl.executor.server.child_process import ChildProcess
from stepcoder_trl.executor.server.fork_server import ForkServer
from stepcoder_trl.executor.server.forker import NewChild
from stepcoder_trl.executor.wire.system import System


def test_reports_that_a_program_takes_back_are_not_waited_for(tmp_path):
    reports, report_end = os.pipe()
    connection, stdout = os.pipe()
    questions, answers = os.pipe()
    forker = SimpleNamespace(take=lambda: NewChild(os.getpid(), connection, reports, stdout, questions, answers))
    server: Any = SimpleNamespace(forker=forker, folder=str(tmp_path), remove_folders=list)
    job: Any = None

    child = ChildProcess(server, job, range(1))

    assert not os.get_blocking(child.reports)
    child.close()
    os.close(report_end)


@pytest.mark.sandbox
def test_answers_that_a_program_does_not_read_are_not_waited_for():
    (case,) = (case for case in load("hostile") if case.name == "second_gate_left_unread")
    started = time.monotonic()
    with CodeExecutor(ExecutorConfig(num_workers=1, stop_on_first_failure=True)) as executor:
        execution = executor.run(case.program, case.tests)

    assert execution.outcome is Outcome.FAILED
    assert time.monotonic() - started < 20


def test_threads_of_a_process_are_counted():
    code = "import threading\nfor _ in range(3):\n    threading.Thread(target=input).start()\nprint(flush=True)"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        counted = System().num_threads(process.pid)
        process.kill()

    assert counted == 4
    assert System().num_threads(0) == 0


@pytest.mark.sandbox
def test_thousands_of_threads_end_a_program():
    (case,) = (case for case in load("hostile") if case.name == "second_threads_by_system_call")
    with CodeExecutor(ExecutorConfig(num_workers=1)) as executor:
        execution = executor.run(case.program, case.tests)

    assert execution.outcome is Outcome.RUNTIME_ERROR


@pytest.mark.sandbox
def test_program_that_makes_thousands_of_folders_is_stopped(executor):
    program = "import os\nfor n in range(10**6):\n    os.mkdir(str(n))\n"
    tests = {"type": "stdio", "inputs": [""], "outputs": [""]}

    execution = executor.run(program, tests)

    assert execution.outcome is Outcome.RUNTIME_ERROR
    assert execution.tests[0].message == "the program wrote too much"


def test_folder_with_files_is_removed_after_the_reply(tmp_path):
    server: Any = object.__new__(ForkServer)
    server.has_leftovers, server._used_folders = False, []
    for name in ("empty", "full"):
        (tmp_path / name).mkdir()
    (tmp_path / "full" / "file").touch()

    server.discard_folder(str(tmp_path / "empty"))
    server.discard_folder(str(tmp_path / "full"))
    left = [path.name for path in tmp_path.iterdir()]
    server.remove_folders()

    assert left == ["full"]
    assert not list(tmp_path.iterdir())
    assert not server.has_leftovers
