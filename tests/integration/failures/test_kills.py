"""Processes of the sandbox that somebody else kills or stops while programs run."""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from stepcoder_trl import CodeExecutor, ExecutorConfig, Outcome, SandboxError
from stepcoder_trl.executor.selftest.leftovers import children_of_ours, descendants
from stepcoder_trl.executor.wire.system import EXAMINER_NAME, FORKER_NAME
from tests.integration.failures.programs import correct_jobs
from tests.processes import ON_LINUX, kill, parent_of, soon


pytestmark = [pytest.mark.sandbox, ON_LINUX, pytest.mark.usefixtures("nothing_left")]

BATCH, BATCHES = 16, 8


def is_named(pid: int | None, name: str) -> bool:
    with suppress(FileNotFoundError, ProcessLookupError):
        return Path(f"/proc/{pid}/comm").read_text().strip() == name
    return False


def is_program(pid: int) -> bool:
    """Return whether a process runs a program, or waits for one."""
    return is_named(parent_of(pid), FORKER_NAME)


KINDS: dict[str, Callable[[int], bool]] = {
    "fork servers": lambda pid: pid in children_of_ours(),
    "forkers": lambda pid: is_named(pid, FORKER_NAME) and not is_program(pid),
    "examiners": lambda pid: is_named(pid, EXAMINER_NAME),
    "programs": is_program,
    "any process": lambda pid: True,
}


@pytest.mark.parametrize("kind", KINDS)
def test_correct_programs_pass_although_processes_are_killed(kind):
    draw = random.Random(kind)
    others, kills = set(descendants()), 0
    with CodeExecutor(ExecutorConfig(num_workers=2)) as executor:
        for _ in range(BATCHES):  # one killing in each, so that none meets the same program twice
            jobs = correct_jobs(BATCH, draw)
            futures = [executor.submit(program, tests) for program, tests in jobs]
            futures[draw.randrange(BATCH // 2)].result()
            victims: list[int] = []
            deadline = time.monotonic() + 5
            while not victims and not futures[-1].done() and time.monotonic() < deadline:
                victims = [pid for pid in descendants() if pid not in others and KINDS[kind](pid)]
            for victim in victims and [draw.choice(victims)]:
                kill(victim)
                kills += 1
            executions = [future.result() for future in futures]
            wrong = [done for done in executions if done.outcome is not Outcome.PASSED]
            assert wrong == []

    assert kills >= BATCHES / 2


def test_program_of_a_stopped_process_is_judged_and_the_next_passes(monkeypatch):
    monkeypatch.setattr("stepcoder_trl.executor.verdict.prepare.SERVER_SLACK_S", 0.0)
    others = set(descendants())
    jobs = correct_jobs(4, random.Random(1), pause_s=0)
    with CodeExecutor(ExecutorConfig(num_workers=1, timeout_s=0.3, program_timeout_s=0.3)) as executor:
        for position in range(4):  # the server, and what it has started
            assert all(executor.run(*job).outcome is Outcome.PASSED for job in jobs)
            idle = sorted(set(descendants()) - others)
            if position >= len(idle):
                break
            kill(idle[position], signal.SIGSTOP)
            outcomes = {executor.run(*job).outcome for job in jobs}
            kill(idle[position], signal.SIGCONT)

            assert outcomes <= {Outcome.PASSED, Outcome.TIMEOUT}


def test_program_that_is_killed_again_and_again_is_never_scored():
    others = set(descendants())
    jobs = correct_jobs(8, random.Random(2), pause_s=0.2)
    with CodeExecutor(ExecutorConfig(num_workers=2)) as executor:
        futures = [executor.submit(*job) for job in jobs]
        kills = 0
        while not all(future.done() for future in futures):
            for pid in (pid for pid in descendants() if pid not in others and is_program(pid)):
                kill(pid)
                kills += 1
            time.sleep(0.02)

    assert kills >= len(jobs)
    for future in futures:
        assert isinstance(future.exception(), SandboxError) or future.result().outcome is Outcome.PASSED


def test_killed_program_gets_the_outcome_that_it_deserves():
    program = "import time\ndef f(n):\n    time.sleep(0.05)\n    return 0\n"
    tests = {"type": "call", "fn_name": "f", "inputs": [[1]] * 3, "outputs": [1] * 3}
    others, kills = set(descendants()), 0
    with CodeExecutor(ExecutorConfig(num_workers=1)) as executor:
        for _ in range(6):
            future = executor.submit(program, tests)
            found: list[int] = []

            def programs(found=found, future=future):
                found[:] = [pid for pid in descendants() if pid not in others and is_program(pid)]
                return found or future.done()

            assert soon(programs)
            for pid in found:
                kill(pid)
                kills += 1
            assert future.result().outcome is Outcome.FAILED

    assert kills >= 3
