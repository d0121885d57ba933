"""Limits and verdicts while other processes keep every core busy."""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Iterator

import pytest

from stepcoder_trl import CodeExecutor, ExecutorConfig, Outcome, SandboxError


pytestmark = pytest.mark.sandbox

LOOP = "def f(n):\n    while True:\n        pass\n"
SLEEP = "import time\ndef f(n):\n    time.sleep(1000)\n"
COUNT = "def f(n):\n    total = 0\n    for i in range(n):\n        total += i\n    return total\n"
ENDLESS_OUTPUT = "def f(n):\n    while True:\n        print('x' * 1000)\n"


def burn() -> None:
    while True:
        pass


@pytest.fixture(scope="module")
def busy_machine() -> Iterator[None]:
    """Three endless loops per core."""
    context = multiprocessing.get_context("spawn")
    burners = [context.Process(target=burn, daemon=True) for _ in range(3 * len(os.sched_getaffinity(0)))]
    for burner in burners:
        burner.start()
    yield
    for burner in burners:
        burner.kill()
        burner.join()


def call(*arguments, timeout_s=0.5):
    expected = [sum(range(number)) for number in arguments]
    inputs = [[number] for number in arguments]
    return {"type": "call", "fn_name": "f", "inputs": inputs, "outputs": expected, "timeout_s": timeout_s}


def test_load_does_not_change_outcomes(busy_machine):
    programs = [COUNT, LOOP, SLEEP, ENDLESS_OUTPUT, "def f(n):\n    return n +\n", COUNT]
    with CodeExecutor(ExecutorConfig(num_workers=2)) as executor:
        executions = executor.run_many(programs, [call(100_000), *[call(5)] * 4, call(10, 1000)])

    outcomes = [execution.outcome for execution in executions]
    assert outcomes[:3] == [Outcome.PASSED, Outcome.TIMEOUT, Outcome.TIMEOUT]
    assert outcomes[3] in (Outcome.TIMEOUT, Outcome.RUNTIME_ERROR)
    assert outcomes[4:] == [Outcome.COMPILE_ERROR, Outcome.PASSED]
    # Lines that ran before the limit count as executed.
    assert executions[1].executed_lines == {1, 2, 3}
    assert executions[2].executed_lines == {1, 2, 3}


def test_time_limit_counts_cpu_time_only(busy_machine):
    with CodeExecutor(ExecutorConfig(num_workers=2)) as executor:
        looped = executor.run(LOOP, call(5))

    # The wall time was far longer: the machine has four times as many busy processes as cores.
    assert 0.4 < looped.tests[0].time_s < 2.0


def test_program_within_cpu_limit_passes_under_load(busy_machine):
    """Wall time is several times the CPU time here. A wall limit of three times the CPU limit would fail."""
    program = (
        "import time\n"
        "end = time.process_time() + 0.3\n"
        "def f(n):\n"
        "    while time.process_time() < end:\n"
        "        pass\n"
        "    return 0\n"
    )
    tests = {"type": "call", "fn_name": "f", "inputs": [[0]], "outputs": [0], "timeout_s": 1.0}
    with CodeExecutor(ExecutorConfig(num_workers=4)) as executor:
        executions = executor.run_many([program] * 8, [tests] * 8)

    assert {execution.outcome for execution in executions} == {Outcome.PASSED}


def test_batch_ends_by_its_deadline(busy_machine):
    begun_s = time.monotonic()
    with CodeExecutor(ExecutorConfig(num_workers=1)) as executor:
        results = executor.run_many([SLEEP] * 50, [call(5, timeout_s=3.0)] * 50, "return", batch_timeout_s=4.0)

    assert time.monotonic() - begun_s < 60  # without the deadline: 50 times nine seconds
    assert sum(isinstance(result, SandboxError) for result in results) >= 40
    assert not any(getattr(result, "outcome", None) is Outcome.PASSED for result in results)
