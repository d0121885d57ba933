"""Test that a program cannot keep the fork server waiting."""

from __future__ import annotations

import os
import time
from types import SimpleNamespace
from typing import Any

import pytest

from stepcoder_trl import CodeExecutor, ExecutorConfig, Outcome
from stepcoder_trl.executor.selftest.corpus import load
from stepcoder_trl.executor.server.child_process import ChildProcess
from stepcoder_trl.executor.server.forker import NewChild


def test_reports_that_a_program_takes_back_are_not_waited_for(tmp_path):
    reports, report_end = os.pipe()
    connection, stdout = os.pipe()
    questions, answers = os.pipe()
    forker = SimpleNamespace(take=lambda: NewChild(os.getpid(), connection, reports, stdout, questions, answers))
    server: Any = SimpleNamespace(forker=forker, folder=str(tmp_path))
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
