"""Trainers that fork, and executors that go to another process."""

from __future__ import annotations

import pickle

import pytest

from stepcoder_trl import Outcome
from tests.integration.lifetime.script import MARKS, ONE
from tests.processes import kill, soon, with_temporary_folder


pytestmark = MARKS


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_worker_process_gets_its_own_servers(module, method):
    status, output, errors = module("worker_processes", method).end()

    assert (status, errors) == (0, "")
    assert output.splitlines() == ["['passed', 'passed']", "0", "0", "passed passed"]


def test_forking_while_programs_run_is_safe(module):
    status, output, errors = module("forks_while_busy").end()

    assert (status, errors) == (0, "")
    assert output.split() == ["0"] * 12


def test_servers_end_with_the_trainer_while_its_fork_lives_on(script, tmp_path):
    run = script("""
executor = CodeExecutor(ExecutorConfig(num_workers=2))
executor.run("print(1)", ONE)
executor.submit(SLEEPER, PATIENT)
if os.fork() == 0:
    print("child", os.getpid(), flush=True)
    time.sleep(1000)
time.sleep(1000)
""")
    child = int(run.line().split()[1])
    try:
        run.wait_for_program()
        run.process.kill()
        run.process.wait()

        assert soon(lambda: with_temporary_folder(tmp_path) == [child])
        assert soon(lambda: list(tmp_path.iterdir()) == [])
    finally:
        kill(child)


def test_executor_can_be_pickled(executor):
    executor.run("print(1)", ONE)

    with pickle.loads(pickle.dumps(executor)) as copy:
        assert copy.config == executor.config
        assert copy.run("print(1)", ONE).outcome is Outcome.PASSED
