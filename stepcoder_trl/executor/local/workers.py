"""
Threads that run programs on fork servers.

Each thread has one fork server, takes programs from a common queue and receives the replies. A server that ends or
does not answer is replaced, and its program runs again.
"""

from __future__ import annotations

import logging
import os
import queue
import select
import threading
from collections import Counter
from dataclasses import dataclass
from typing import Literal

from stepcoder_trl.errors import IsolationError, SandboxError
from stepcoder_trl.executor.announce import announce
from stepcoder_trl.executor.backend import HARMLESS_PROGRAM, HARMLESS_TESTS
from stepcoder_trl.executor.local import descriptors
from stepcoder_trl.executor.local.config import ExecutorConfig
from stepcoder_trl.executor.local.server_process import ExecutorClosing, ServerLost, ServerProcess
from stepcoder_trl.executor.pending import Pending
from stepcoder_trl.executor.verdict.judge import KilledError, worker_lost
from stepcoder_trl.executor.verdict.limits import Limits
from stepcoder_trl.executor.verdict.prepare import Job, prepare_job
from stepcoder_trl.executor.verdict.schema import Tests
from stepcoder_trl.executor.wire.system import num_cores
from stepcoder_trl.types import Execution, Outcome


CLOSED_MESSAGE = "This executor is closed. Create a new one."
_HARMLESS_LIMITS = Limits(timeout_s=10.0)
_Cause = Literal["killed", "lost", "failed"]
# Number of failed attempts after which a program is given up, by cause.
_MAX_ATTEMPTS: dict[_Cause, int] = {
    "killed": 50,  # someone else killed the server or its child, which says nothing about the program
    "lost": 2,  # the server was lost while it ran the program
    "failed": 3,  # the server did not start, or failed to run the program
}
_PAUSES_S = (0.1, 0.5)  # before further attempts after "failed": others may free memory, processes or disk

logger = logging.getLogger(__name__)


class NoThreadError(SandboxError):
    """Raised if the system allows no thread, or no descriptor for it."""


@dataclass(eq=False)
class Task(Pending):
    """Program in the queue."""

    job: Job
    owner: object  # the executor, which must not be collected before its programs have run


class Workers:
    """
    Threads and queue of one executor.

    They hold no reference to the executor, so that an executor that is not used any more can be collected.
    """

    def __init__(self, config: ExecutorConfig) -> None:
        self.config = config
        self.pid = os.getpid()  # of the process that the threads belong to
        self.layers: dict[str, bool] = {}  # empty before the first server has started
        self.missing: dict[str, str] = {}
        self.queue: queue.SimpleQueue[Task | None] = queue.SimpleQueue()
        self.closed = False
        self.wakeup, self._alarm = descriptors.open_pipe()
        self._lock = threading.RLock()  # reentrant: the garbage collector may call `close` while this thread holds it
        count = config.num_workers or num_cores()
        self._threads = [
            threading.Thread(target=_Worker(self).serve, name=f"stepcoder-worker-{index}", daemon=True)
            for index in range(count)
        ]
        self._num_serving = self._start_threads()

    def _start_threads(self) -> int:
        """Start as many threads as the system allows. Return their number. Raise NoThreadError if there is none."""
        for started, thread in enumerate(self._threads):
            try:
                thread.start()
            except RuntimeError as error:
                del self._threads[started:]
                if not started:
                    descriptors.close(self.wakeup)
                    descriptors.close(self._alarm)
                    raise NoThreadError(
                        f"No thread of the sandbox could be started ({error}). Raise the number of processes allowed "
                        "(`ulimit -u`), or end others."
                    ) from None
                logger.warning(
                    "The sandbox runs %d programs at a time, not %d: no more threads could be started (%s). Raise the "
                    "number of processes allowed (`ulimit -u`).",
                    *(started, self.config.num_workers or num_cores(), error),
                )
        return len(self._threads)

    def pause(self, seconds: float) -> None:
        """Wait, but not longer than until the executor is closed."""
        poll = select.poll()
        poll.register(self.wakeup, select.POLLIN)
        poll.poll(1000 * seconds)

    def put(self, task: Task) -> None:
        """Add a program to the queue."""
        with self._lock:
            if self.closed:
                raise SandboxError(CLOSED_MESSAGE)
            self.queue.put(task)

    def close(self) -> None:
        """End all servers. Programs that run get an error, programs that wait are cancelled."""
        if os.getpid() != self.pid:  # after a fork, the servers belong to the parent
            return
        with self._lock:
            if not self.closed:
                self.closed = True
                os.write(self._alarm, b"!")
                for _ in self._threads:
                    self.queue.put(None)
        # A callback of a future, or the garbage collector, may have called from one of the threads.
        if threading.current_thread() not in self._threads:
            for thread in self._threads:
                thread.join()

    def leave(self) -> None:
        """Note that a thread ends. The last one closes the pipe that wakes them."""
        with self._lock:
            self._num_serving -= 1
            is_last = not self._num_serving
        if is_last:
            descriptors.close(self.wakeup)
            descriptors.close(self._alarm)


class _Worker:
    """One thread and its fork server."""

    def __init__(self, workers: Workers) -> None:
        self._workers = workers
        self._server: ServerProcess | None = None

    def serve(self) -> None:
        """Run programs from the queue until the executor is closed."""
        try:
            while (task := self._workers.queue.get()) is not None:
                if self._workers.closed:
                    task.future.cancel()
                if task.starts():
                    task.settle(self._result(task.job))
                del task  # it references the executor, which may be collected now
        finally:
            self._stop_server()
            self._workers.leave()

    def _result(self, job: Job) -> Execution | Exception:
        try:
            return self._run(job)
        except Exception as error:  # the caller's future raises it
            return error

    def _run(self, job: Job) -> Execution:
        """Run a program, on new servers while servers fail."""
        failures: Counter[_Cause] = Counter()
        while True:
            try:
                return self._try(job)
            except ExecutorClosing:
                raise SandboxError("This executor was closed before the program had ended.") from None
            except IsolationError:  # another server would lack the same layers
                self._stop_server()
                raise
            except (ServerLost, SandboxError, OSError) as problem:
                error = problem
            was_ready = self._server is not None and self._server.ready
            if self._stop_server() or isinstance(error, KilledError):
                cause: _Cause = "killed"
            else:
                cause = "lost" if was_ready and isinstance(error, ServerLost) else "failed"
            failures[cause] += 1
            if failures[cause] == _MAX_ATTEMPTS[cause]:
                break
            if cause == "failed":
                self._workers.pause(_PAUSES_S[failures[cause] - 1])
        if cause == "lost" and self._new_server_is_healthy():
            return worker_lost(job.program, job.tests.judges, job.tests.header["is_traced"])
        raise SandboxError(
            f"A program could not be executed ({error}). Check free disk space, memory and the number of "
            f"processes allowed; `stepcoder-trl env` shows the sandbox's layers."
        )

    def _try(self, job: Job) -> Execution:
        if self._server is None:
            self._server = ServerProcess(self._workers.config, self._workers.wakeup)
        if not self._server.ready:
            self._server.wait_until_ready()
            self._workers.layers, self._workers.missing = self._server.layers, self._server.missing
            announce(self._server.layers, self._server.missing, self._workers.config.isolation)
        execution = self._server.run(job)
        if self._server.single_use:
            self._stop_server()
        return execution

    def _new_server_is_healthy(self) -> bool:
        """Return whether a new server runs a harmless program. If so, the last program is at fault."""
        job = prepare_job(HARMLESS_PROGRAM, Tests.parse(HARMLESS_TESTS), _HARMLESS_LIMITS)
        try:
            if self._try(job).outcome is Outcome.PASSED:
                return True
        except (ExecutorClosing, ServerLost, SandboxError, OSError):
            pass
        self._stop_server()
        return False

    def _stop_server(self) -> bool:
        """Stop the server, if there is one. Return whether someone else had killed it."""
        server, self._server = self._server, None
        return server is not None and server.stop()
