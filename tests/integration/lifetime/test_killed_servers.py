"""Servers and programs that somebody kills or stops."""

from __future__ import annotations

import os
import random
import signal
from collections import Counter
from pathlib import Path

import pytest

from stepcoder_trl import CodeExecutor, ExecutorConfig, Outcome, SandboxError
from stepcoder_trl.executor.local import server_process
from stepcoder_trl.executor.selftest.leftovers import children_of_ours, descendants
from tests.integration.lifetime.script import LONG_S, MARKS, ONE, prints
from tests.processes import kill, parent_of, running_programs, soon


pytestmark = MARKS


def test_random_kills_lose_or_repeat_no_result_and_keep_the_order(nothing_left):
    count, killings, generator = 240, 24, random.Random(5)
    programs, tests = zip(*(prints(number, generator.choice([0, 0.01, 0.03])) for number in range(count)), strict=True)
    done: Counter[int] = Counter()
    servers_hit: set[int] = set()  # a second kill on the same server would count as the program's fault
    others = set(descendants())
    with CodeExecutor(ExecutorConfig(num_workers=3)) as executor:
        futures = [executor.submit(program, test) for program, test in zip(programs, tests, strict=True)]
        for number, future in enumerate(futures):
            future.add_done_callback(lambda _, number=number: done.update([number]))
        while killings and done.total() < count:
            seen = done.total()
            victim = generator.choice([pid for pid in descendants() if pid not in others] or [0])
            owner = parent_of(victim) if victim else None
            if owner is not None and owner not in servers_hit:
                if owner != os.getpid():
                    servers_hit.add(owner)
                kill(victim)
                killings -= 1
            assert soon(lambda seen=seen: done.total() > seen or done.total() == count)
        executions = [future.result(LONG_S) for future in futures]

    assert killings < 12
    wrong = [(number, e) for number, e in enumerate(executions) if e.outcome is not Outcome.PASSED]
    assert wrong == []
    assert done == Counter(range(count))


def test_program_killed_from_outside_is_repeated_with_all_tests(executor, tmp_path):
    tests = {"type": "assert", "setup": "box = []", "asserts": [f"box.append({i})" for i in range(3)], "timeout_s": 60}
    tests["asserts"] += ["f()", "assert box == [0, 1, 2]"]
    future = executor.submit("import time\ndef f():\n    time.sleep(2)\n", tests)
    assert soon(running_programs)
    for pid in running_programs():
        kill(pid)

    assert future.result(LONG_S).outcome is Outcome.PASSED


def test_program_that_kills_itself_has_runtime_error(executor):
    program = "import os, signal\nx = 1\nos.kill(os.getpid(), signal.SIGKILL)\nprint(1)\n"

    execution = executor.run(program, ONE)

    assert execution.outcome is Outcome.RUNTIME_ERROR
    assert "not permitted" in execution.tests[0].message  # so a SIGKILL is known to come from somebody else
    assert execution.executed_lines == {1, 2, 3}


def test_servers_that_always_die_raise_sandbox_error(monkeypatch, nothing_left):
    kills_itself = "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"
    monkeypatch.setattr(server_process, "_bootstrap", lambda *_: kills_itself)
    with CodeExecutor(ExecutorConfig(num_workers=1)) as executor:
        with pytest.raises(SandboxError, match="could not be executed"):
            executor.run("print(1)", ONE)


@pytest.mark.parametrize("size", [10, 1_000_000], ids=["small job", "job larger than a pipe"])
def test_stopped_server_is_replaced(monkeypatch, nothing_left, size):
    monkeypatch.setattr("stepcoder_trl.executor.verdict.prepare.SERVER_SLACK_S", 0.0)
    tests = {**ONE, "inputs": ["x" * size], "timeout_s": 0.1}
    others = children_of_ours()
    with CodeExecutor(ExecutorConfig(num_workers=1, program_timeout_s=0.1)) as executor:
        executor.run("print(1)", ONE)
        (server,) = children_of_ours() - others
        kill(server, signal.SIGSTOP)

        execution = executor.run("print(1)", tests)

    assert execution.outcome is Outcome.PASSED
    assert not Path(f"/proc/{server}").exists()
