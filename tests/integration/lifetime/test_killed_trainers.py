"""Interrupted and killed trainers."""

from __future__ import annotations

import os
import signal

import pytest

from tests.integration.lifetime.script import MANY_SLEEPERS, MARKS
from tests.processes import kill


pytestmark = MARKS


@pytest.mark.parametrize("closing", ["with executor:", "try:"])
def test_control_c_comes_out_at_once_and_ends_everything(script, closing):
    finish = "" if closing.startswith("with") else "finally:\n        executor.close()"
    run = script(f"""{MANY_SLEEPERS}
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


def test_after_control_c_the_executor_is_still_good(script):
    run = script(f"""{MANY_SLEEPERS}
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
def test_a_killed_trainer_leaves_nothing(script, number):
    run = script(f"{MANY_SLEEPERS}\nexecutor.run_many([SLEEPER] * 50, [PATIENT] * 50)")
    assert run.line() == "ready"
    run.wait_for_program(2)
    kill(run.process.pid, number)

    assert run.end() == (-number, "", "")


@pytest.mark.parametrize("pause_s", [0.0, 0.02, 0.05, 0.1, 0.2, 0.4])
def test_a_trainer_killed_while_its_servers_start_leaves_nothing(script, pause_s):
    # Both servers must have begun: a folder that was made for one that is not there yet is nobody's.
    run = script(f"""
import glob, pathlib

def servers():
    lists = [pathlib.Path(path).read_text().split() for path in glob.glob("/proc/self/task/*/children")]
    commands = {{pid: pathlib.Path(f"/proc/{{pid}}/cmdline").read_bytes() for pids in lists for pid in pids}}
    return [pid for pid, command in commands.items() if b"executor.server" in command]

executor = CodeExecutor(ExecutorConfig(num_workers=2))
futures = [executor.submit(SLEEPER, PATIENT) for _ in range(4)]
while len(servers()) < 2:
    pass
time.sleep({pause_s})
os.kill(os.getpid(), signal.SIGKILL)
""")

    assert run.end() == (-signal.SIGKILL, "", "")
