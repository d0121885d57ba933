"""Test the limits of tests and programs."""

from __future__ import annotations

import time

import pytest

from stepcoder_trl import CodeExecutor, ExecutorConfig, Outcome
from tests.unit.executor.samples import DOUBLE, outcomes


pytestmark = pytest.mark.sandbox


def test_limit_of_tests_overrides_default(fast_executor):
    tests = {**DOUBLE, "timeout_s": 0.2}

    started = time.monotonic()
    execution = fast_executor.run("while True: pass", tests)

    assert execution.outcome is Outcome.TIMEOUT
    assert all(0.15 < test.time_s < 0.9 for test in execution.tests)
    assert time.monotonic() - started < 5


def test_tests_that_are_not_reached_get_the_last_outcome():
    tests = {"type": "stdio", "inputs": ["1"] * 6, "outputs": ["1"] * 6}
    with CodeExecutor(ExecutorConfig(num_workers=1, timeout_s=0.3, program_timeout_s=0.7)) as executor:
        execution = executor.run("while True: pass", tests)

    assert outcomes(execution) == ["timeout"] * 6
    assert execution.tests[-1].message == "not run"


@pytest.mark.parametrize("own", [{}, {"timeout_s": 5.0}], ids=["config", "row"])
def test_limit_of_the_program_may_be_shorter_than_that_of_one_test(own):
    tests = {"type": "stdio", "inputs": ["", ""], "outputs": ["", ""], **own}
    with CodeExecutor(ExecutorConfig(num_workers=1, timeout_s=5.0, program_timeout_s=0.3)) as executor:
        execution = executor.run("while True: pass", tests)

    assert outcomes(execution) == ["timeout", "timeout"]
    assert 0.2 < execution.time_s < 2
    assert execution.tests[-1].message == "not run"


def test_tests_after_first_failure_are_not_run():
    tests = {"type": "stdio", "inputs": ["1", "2", "3"], "outputs": ["1", "0", "3"]}
    program = "n = int(input())\nif n == 3:\n    n = 3\nprint(n)\n"
    with CodeExecutor(ExecutorConfig(num_workers=1, stop_on_first_failure=True)) as executor:
        execution = executor.run(program, tests)

    assert outcomes(execution) == ["passed", "failed", "failed"]
    assert execution.tests[2].message == "not run"
    assert 3 not in execution.executed_lines


@pytest.mark.parametrize("death", ["while True: pass", "import os, signal\n    os.kill(os.getpid(), signal.SIGKILL)"])
def test_crash_or_timeout_stops_at_first_failure(death):
    tests = {"type": "stdio", "inputs": ["0", "1", "2"], "outputs": ["0", "1", "2"]}
    program = f"n = int(input())\nif n == 0:\n    {death}\nprint(n)\n"
    with CodeExecutor(ExecutorConfig(num_workers=1, timeout_s=0.5, stop_on_first_failure=True)) as executor:
        execution = executor.run(program, tests)

    assert [test.message for test in execution.tests[1:]] == ["not run", "not run"]
    assert execution.outcome is not Outcome.PASSED
