"""Executors that are closed, thrown away, or never closed."""

from __future__ import annotations

import gc
import threading
import time
from collections import Counter
from concurrent.futures import CancelledError
from typing import Any

import pytest

from stepcoder_trl import CodeExecutor, ExecutorConfig, Outcome, SandboxError
from stepcoder_trl.executor.selftest.leftovers import descendants
from tests.integration.lifetime.script import LONG_S, MARKS, ONE, PATIENT, READY_EXECUTOR, SLEEPER
from tests.processes import running_programs, soon


pytestmark = MARKS


def test_close_with_queued_programs_ends_at_once(nothing_left):
    executor = CodeExecutor(ExecutorConfig(num_workers=2))
    futures = [executor.submit(SLEEPER, PATIENT) for _ in range(20)]
    assert soon(lambda: len(running_programs()) == 2)
    started = time.monotonic()
    executor.close()
    executor.close()

    assert time.monotonic() - started < LONG_S
    kinds = Counter(type(future.exception()) if not future.cancelled() else CancelledError for future in futures)
    assert kinds == {SandboxError: 2, CancelledError: 18}
    with pytest.raises(SandboxError, match="closed"):
        executor.submit("print(1)", ONE)


def test_close_from_another_thread_wakes_waiting_caller(nothing_left):
    executor = CodeExecutor(ExecutorConfig(num_workers=1))
    executor.run("print(1)", ONE)
    closers = [threading.Timer(0.2, executor.close) for _ in range(3)]
    for closer in closers:
        closer.start()

    results = executor.run_many([SLEEPER] * 3, [PATIENT] * 3, on_error="return")
    for closer in closers:
        closer.join()

    assert [type(result) for result in results] == [SandboxError] * 3


def test_close_from_callback_does_not_deadlock(nothing_left):
    executor = CodeExecutor(ExecutorConfig(num_workers=2))
    closed = threading.Event()
    future = executor.submit("import time\ntime.sleep(0.2)", ONE)
    future.add_done_callback(lambda _: (executor.close(), closed.set()))

    assert closed.wait(LONG_S)
    executor.close()


def test_submit_during_close_leaves_no_pending_future(nothing_left):
    for _ in range(10):
        executor = CodeExecutor(ExecutorConfig(num_workers=1))
        futures = []

        def submit(executor=executor, futures=futures):
            for _ in range(1000):
                try:
                    futures.append(executor.submit("print(1)", ONE))
                except SandboxError:
                    return

        thread = threading.Thread(target=submit)
        thread.start()
        executor.close()
        thread.join()
        assert soon(lambda futures=futures: all(future.done() for future in futures))


def test_failing_callback_does_not_stop_the_worker():
    def fail(future: Any) -> None:
        raise SystemExit

    with CodeExecutor(ExecutorConfig(num_workers=1)) as executor:
        executor.submit("print(1)", ONE).add_done_callback(fail)

        assert executor.submit("print(1)", ONE).result(LONG_S).outcome is Outcome.PASSED


def test_exception_in_with_block_closes_executor(nothing_left):
    def leave(executor: CodeExecutor) -> None:
        with executor:
            executor.submit(SLEEPER, PATIENT)
            raise KeyError

    executor = CodeExecutor(ExecutorConfig(num_workers=1))
    with pytest.raises(KeyError):
        leave(executor)

    with pytest.raises(SandboxError, match="closed"):
        executor.run("print(1)", ONE)


@pytest.mark.parametrize(
    "ending",
    [
        "",
        "sys.exit(3)",
        "raise SystemExit(3)",
        "executor = None",
        "import atexit\natexit.register(lambda: executor.close())",
        "threading.Thread(target=lambda: time.sleep(0.3)).start()",
    ],
)
def test_interpreter_ends_with_open_executor(script, ending):
    run = script(f"{READY_EXECUTOR}\nfutures = [executor.submit(SLEEPER, PATIENT) for _ in range(9)]\n{ending}\n")
    expected = 3 if "3)" in ending and "Thread" not in ending else 0

    # An unreferenced executor finishes its work first, but never keeps the interpreter from ending.
    assert run.end() == (expected, "ready\n", "")


def test_unreferenced_executor_finishes_its_programs(nothing_left):
    future = CodeExecutor(ExecutorConfig(num_workers=1)).submit("print(1)", ONE)

    assert future.result(LONG_S).outcome is Outcome.PASSED


def test_collected_executor_ends_its_servers(nothing_left):
    before = descendants()
    executor = CodeExecutor(ExecutorConfig(num_workers=2))
    cycle = [executor]
    cycle.append(cycle)  # type: ignore[arg-type]
    executor.run("print(1)", ONE)
    assert descendants() != before

    del executor, cycle
    gc.collect()

    assert soon(lambda: descendants() == before)
