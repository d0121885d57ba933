"""Executors in threads, event loops and interactive interpreters."""

from __future__ import annotations

import asyncio
import signal
import threading
from typing import Any

from stepcoder_trl import CodeExecutor, ExecutorConfig, Outcome
from tests.integration.lifetime.script import IMPORTS, MARKS, ONE, prints


pytestmark = MARKS


def test_many_threads_share_an_executor(executor):
    results: dict[int, list[Any]] = {}

    def work(number: int) -> None:
        programs, tests = zip(*(prints(100 * number + i) for i in range(5)), strict=True)
        results[number] = [execution.outcome for execution in executor.run_many(programs, tests)]

    threads = [threading.Thread(target=work, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert results == dict.fromkeys(range(16), [Outcome.PASSED] * 5)


def test_executor_runs_inside_event_loop(executor):
    async def main() -> list[Outcome]:
        blocking = executor.run("print(1)", ONE)
        futures = [asyncio.wrap_future(executor.submit("print(1)", ONE)) for _ in range(4)]
        return [execution.outcome for execution in (blocking, *await asyncio.gather(*futures))]

    assert asyncio.run(main()) == [Outcome.PASSED] * 5


def test_executor_runs_in_interactive_interpreter(start):
    text = """
executor = CodeExecutor(ExecutorConfig(num_workers=1))
print("__file__" in globals(), executor.run("print(1)", ONE).outcome.value)

exit()
"""

    status, output, _ = start("-i", "-q", text=IMPORTS + text).end()

    assert (status, output.split()) == (0, ["False", "passed"])


def test_executor_installs_no_signal_handler(executor):
    def handlers() -> dict[int, Any]:
        return {number: signal.getsignal(number) for number in signal.valid_signals()}

    before = handlers()
    with CodeExecutor(ExecutorConfig(num_workers=1)) as other:
        other.run("print(1)", ONE)
        during = handlers()

    assert during == before
    assert handlers() == before
