"""Interrupted and killed trainers."""

from __future__ import annotations

import os
import signal

import pytest

from tests.integration.lifetime.script import MARKS, READY_EXECUTOR
from tests.processes import kill


pytestmark = MARKS


@pytest.mark.parametrize("closing", ["with executor:", "try:"])
def test_ctrl_c_interrupts_at_once_and_leaves_nothing(script, closing):
    finish = "" if closing.startswith("with") else "finally:\n        executor.close()"
    run = script(f"""{READY_EXECUTOR}
try:
    {closing}
        executor.run_many([SLEEPER] * 50, [PATIENT] * 50)
    {finish}
except KeyboardInterrupt:
    print("interrupted", flush=True)
""")
    assert run.line() == "ready"
    run.wait_for_program(2)
    os.killpg(run.process.pid, signal.SIGINT)  # as a terminal does

    assert run.end() == (0, "interrupted\n", "")


def test_executor_works_after_ctrl_c(script):
    run = script(f"""{READY_EXECUTOR}
try:
    executor.run_many(["import time\\ntime.sleep(2)"] * 50, [PATIENT] * 50)
except KeyboardInterrupt:
    print(executor.run("print(1)", ONE).outcome.value)
""")
    assert run.line() == "ready"
    run.wait_for_program(2)
    os.killpg(run.process.pid, signal.SIGINT)

    assert run.end() == (0, "passed\n", "")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL, signal.SIGHUP])
def test_killed_trainer_leaves_nothing(script, number):
    run = script(f"{READY_EXECUTOR}\nexecutor.run_many([SLEEPER] * 50, [PATIENT] * 50)")
    assert run.line() == "ready"
    run.wait_for_program(2)
    kill(run.process.pid, number)

    assert run.end() == (-number, "", "")


@pytest.mark.parametrize("pause_s", [0.0, 0.02, 0.05, 0.1, 0.2, 0.4])
def test_trainer_killed_while_servers_start_leaves_nothing(module, pause_s):
    run = module("killed_at_start", str(pause_s))

    assert run.end() == (-signal.SIGKILL, "", "")
