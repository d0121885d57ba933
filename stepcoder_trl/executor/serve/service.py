"""
Programs of all requests on one executor.

Coroutines call it on the event loop. A program waits, runs, and has a result; `waiting` and `running` count them.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

from stepcoder_trl.errors import SandboxError
from stepcoder_trl.executor.local.executor import CodeExecutor
from stepcoder_trl.executor.serve import run_code
from stepcoder_trl.executor.serve.config import ServeConfig
from stepcoder_trl.executor.serve.metrics import Metrics
from stepcoder_trl.executor.serve.problems import Asked, Bounds
from stepcoder_trl.executor.serve.run_code import RunJob, RunRequest
from stepcoder_trl.executor.verdict.recent import RecentTests
from stepcoder_trl.executor.wire.problems import PROTOCOL, Service
from stepcoder_trl.executor.wire.system import num_cores
from stepcoder_trl.types import Execution, Outcome


_MAX_DEFECTS = 100  # kinds of errors that are logged, as their texts may hold what clients send

logger = logging.getLogger(__name__)
_Result = TypeVar("_Result")


class Overloaded(Exception):
    """Raised if too many programs wait."""


class Stopping(Exception):
    """Raised for a program that the service gives back, because it stops."""


class SandboxService:
    """One executor for all requests."""

    def __init__(self, config: ServeConfig) -> None:
        self.config = config
        self.executor = CodeExecutor(config.executor)
        self.workers = config.executor.num_workers or num_cores()
        self.max_programs = self.workers + config.max_waiting
        self.bounds = Bounds(config.executor, config.max_timeout_s, config.program_seconds, config.max_memory_bytes)
        self.metrics = Metrics(self.workers)
        self.metrics.running.set_function(lambda: min(len(self._futures), self.workers))
        self.metrics.waiting.set_function(lambda: self.waiting)
        self.stopping = threading.Event()
        self._futures: set[Future[Execution]] = set()
        self._recent = RecentTests()
        self._defects: set[str] = set()

    @property
    def waiting(self) -> int:
        """Return the number of programs that wait for a worker."""
        return max(0, len(self._futures) - self.workers)

    def start(self) -> None:
        """Start a worker, so that a machine that cannot isolate programs says so before it serves any."""
        _ = self.executor.layers

    def describe(self) -> Service:
        """Return what a client needs to know."""
        return Service(
            service="stepcoder-trl",
            protocol=PROTOCOL,
            workers=self.workers,
            max_programs=self.max_programs,
            max_body_bytes=self.config.max_body_bytes,
            isolation=self.config.executor.isolation,
            layers=self.executor.layers,
            missing=self.executor.missing_layers,
        )

    def check_room(self, programs: int) -> None:
        """Raise Overloaded if so many programs more would wait too long, and Stopping if the service stops."""
        if self.stopping.is_set():
            raise Stopping("the service stops")
        if len(self._futures) + programs > self.max_programs:
            raise Overloaded(f"{self.waiting} programs wait already, of {self.config.max_waiting} that may")

    def report_defect(self, error: Exception) -> str:
        """Log an error that this service did not expect, each kind once. Return what to tell the client."""
        kind = f"{type(error).__name__}: {error}"
        if kind not in self._defects and len(self._defects) < _MAX_DEFECTS:
            self._defects.add(kind)
            logger.error("The service failed to serve a request. It goes on.", exc_info=error)
        self.metrics.defects.inc()
        return f"The service failed for a reason that it did not expect ({type(error).__name__}). Its log has more."

    async def run_problem(self, asked: Asked) -> Execution:
        """Return the execution of a program. Raise a `BadInputError`, a `SandboxError` or Stopping."""
        tests = self._recent.parse(asked.tests)
        limits = self.bounds.of_tests(tests, asked.limits)
        return await self._run(
            "problems",
            lambda: self.executor.submit_with(asked.program, tests, limits),
            lambda execution: (execution, execution.outcome),
        )

    async def run_script(self, asked: RunRequest, run: RunJob, pod: str, wait_s: float) -> dict[str, Any]:
        """
        Return the answer to a script. Raise a `SandboxError` or Stopping.

        Raise Overloaded if it has waited so many wall seconds for a worker.
        """

        def answered(execution: Execution) -> tuple[dict[str, Any], Outcome]:
            found = run_code.answer(asked, run, execution, pod)
            return found, run_code.outcome_of(found, execution)

        return await self._run("run_code", lambda: self.executor.submit_job(run.job), answered, wait_s)

    def stop(self) -> None:
        """Give back all programs that wait. Those that run go on."""
        self.stopping.set()
        for future in tuple(self._futures):
            future.cancel()

    def close(self) -> None:
        """End all programs."""
        self.executor.close()

    async def _run(
        self,
        protocol: str,
        submit: Callable[[], Future[Execution]],
        finish: Callable[[Execution], tuple[_Result, Outcome]],
        wait_s: float | None = None,
    ) -> _Result:
        """Run a program and count it. `finish` makes the result of its execution, and says what the outcome was."""
        if self.stopping.is_set():
            raise Stopping("the service stops")
        began = time.monotonic()
        future = submit()
        self._futures.add(future)
        future.add_done_callback(self._futures.discard)
        outcome = "given_back"
        try:
            execution = await _started_in_time(future, wait_s)
            self.metrics.cpu.inc(execution.time_s)
            result, found = finish(execution)
            outcome = found.value
            return result
        except asyncio.CancelledError:
            if future.cancelled() and self.stopping.is_set():
                raise Stopping("the service stops") from None
            raise  # the client is gone, and nobody waits for the program any more
        except SandboxError:
            if self.stopping.is_set():
                raise Stopping("the service stops") from None
            outcome = "sandbox_error"
            raise
        finally:
            self.metrics.programs.labels(protocol, outcome).inc()
            self.metrics.seconds.labels(protocol).observe(time.monotonic() - began)


async def _started_in_time(future: Future[Execution], wait_s: float | None) -> Execution:
    """Return the result of a program. Raise Overloaded if it has not started after so many seconds."""
    result = asyncio.wrap_future(future)
    try:
        await asyncio.wait((result,), timeout=wait_s)
        if not result.done() and future.cancel():
            raise Overloaded(f"no worker was free within {wait_s:g} seconds")
        return await result
    finally:
        result.cancel()  # so that a program that still waits does not run for nobody
