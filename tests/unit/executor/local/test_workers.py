"""Test infrastructure failures: they are retried, then raised or returned, and never give an outcome."""

from __future__ import annotations

import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from stepcoder_trl import CodeExecutor, ExecutorConfig, Outcome, SandboxError
from stepcoder_trl.executor.local import server_process
from stepcoder_trl.rewards import close_executor, unit_test_reward


pytestmark = [
    pytest.mark.sandbox,
    pytest.mark.skipif(sys.platform != "linux", reason="the fork server is made for Linux"),
]
ONE = {"type": "stdio", "inputs": [""], "outputs": ["1"]}
FAULTS = {
    "no process": "from stepcoder_trl.executor.server.forker import Forker; Forker.take = fail",
    "no memory for files": "from stepcoder_trl.executor.wire.system import System; System.memory_file = fail",
    "no limits": "from stepcoder_trl.executor.server.hardening.confine import Hardening; Hardening.enter_child = fail",
    "no folder": "server.ForkServer.new_folder = fail",
    "server breaks": "server.run_job = lambda *job: 1 / 0",
    "server ends": "server.run_job = lambda *job: server.os._exit(0)",
    "server does not start": "server.ForkServer = fail",
}


@pytest.fixture
def break_servers(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str, int], list[int]]]:
    """Function that makes the first servers faulty. It returns a list that grows by one with every start."""
    healthy = server_process._bootstrap
    close_executor()  # its healthy servers would serve `unit_test_reward`

    def break_servers(fault: str, count: int) -> list[int]:
        starts: list[int] = []
        setup = f"""
def fail(*args, **kwargs):
    raise OSError(11, "Resource temporarily unavailable")
{fault}
"""

        def bootstrap(requests: int, replies: int, checks: int) -> str:
            starts.append(1)
            code = healthy(requests, replies, checks)
            return code.replace("sys.path.pop(0);", f"exec({setup!r});") if len(starts) <= count else code

        monkeypatch.setattr(server_process, "_bootstrap", bootstrap)
        return starts

    yield break_servers
    close_executor()


@pytest.mark.parametrize("fault", FAULTS)
def test_single_failure_is_retried(break_servers, fault):
    starts = break_servers(FAULTS[fault], 1)
    with CodeExecutor(ExecutorConfig(num_workers=1)) as executor:
        execution = executor.run("print(1)", ONE)

    assert execution.outcome is Outcome.PASSED
    assert len(starts) == 2


@pytest.mark.parametrize("fault", FAULTS)
def test_lasting_failure_is_raised_or_returned_but_not_scored(break_servers, fault):
    break_servers(FAULTS[fault], 99)
    with CodeExecutor(ExecutorConfig(num_workers=1)) as executor:
        (result,) = executor.run_many(["print(1)"], [ONE], on_error="return")
        scores = unit_test_reward(["print(1)"], tests=[ONE])
        with pytest.raises(SandboxError, match="could not be executed"):
            executor.run("print(1)", ONE)

    assert isinstance(result, SandboxError)
    assert scores == [None]


def test_program_that_loses_its_servers_is_a_runtime_error(break_servers):
    break_servers(FAULTS["server ends"], 2)
    with CodeExecutor(ExecutorConfig(num_workers=1)) as executor:
        execution = executor.run("print(1)", ONE)

    assert execution.outcome is Outcome.RUNTIME_ERROR
    assert execution.tests[0].message == "worker lost"


def test_missing_temporary_folder_raises(monkeypatch, tmp_path):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))
    with CodeExecutor(ExecutorConfig(num_workers=1)) as executor, pytest.raises(SandboxError, match="gone"):
        executor.run("print(1)", ONE)


def test_missing_interpreter_raises(monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))  # other tests use the common one at the same time
    with CodeExecutor(ExecutorConfig(num_workers=1)) as executor, pytest.raises(SandboxError, match="python"):
        executor.run("print(1)", ONE)

    assert list(tmp_path.glob("stepcoder-*")) == []


def test_batch_ends_at_its_time_limit():
    slow = {**ONE, "timeout_s": 300}
    with CodeExecutor(ExecutorConfig(num_workers=2)) as executor:
        executor.run("print(1)", ONE)
        programs = ["print(1)", *["import time\ntime.sleep(300)"] * 20]
        started = time.monotonic()
        results = executor.run_many(programs, [slow] * 21, on_error="return", batch_timeout_s=3.0)
        took = time.monotonic() - started

    assert took < 60
    assert results[0].outcome is Outcome.PASSED
    assert all(isinstance(result, SandboxError) for result in results[1:])


def test_batch_within_its_time_limit_is_complete():
    with CodeExecutor(ExecutorConfig(num_workers=2)) as executor:
        results = executor.run_many(["print(1)"] * 5, [ONE] * 5, batch_timeout_s=300.0)

    assert {result.outcome for result in results} == {Outcome.PASSED}
    assert threading.active_count() < 50


def test_executor_works_with_the_threads_that_can_be_started(monkeypatch, caplog):
    started = []
    start = threading.Thread.start

    def start_two(thread: threading.Thread) -> None:
        if thread.name.startswith("stepcoder-worker"):
            if len(started) == 2:
                raise RuntimeError("can't start new thread")
            started.append(thread)
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", start_two)

    with CodeExecutor(ExecutorConfig(num_workers=4)) as executor:
        results = executor.run_many(["print(1)"] * 6, [ONE] * 6)

    assert [result.outcome.value for result in results] == ["passed"] * 6
    assert len(started) == 2
    assert "runs 2 programs at a time, not 4" in caplog.text


def test_executor_without_any_thread_is_an_infrastructure_failure(monkeypatch):
    def fail(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", fail)

    with pytest.raises(SandboxError, match="ulimit -u"):
        CodeExecutor(ExecutorConfig(num_workers=2)).run("print(1)", ONE)
