"""`CodeExecutor`: runs programs in fork servers on this machine."""

from __future__ import annotations

import os
import tempfile
import threading
import weakref
from concurrent.futures import Future
from typing import Any

from stepcoder_trl.errors import BadInputError, SandboxError, refuse_keywords
from stepcoder_trl.executor.backend import HARMLESS_PROGRAM, HARMLESS_TESTS, ConfiguredBackend, TestsLike
from stepcoder_trl.executor.checking import submit_checked
from stepcoder_trl.executor.local import descriptors, server_process
from stepcoder_trl.executor.local.config import ExecutorConfig
from stepcoder_trl.executor.local.workers import CLOSED_MESSAGE, NoThreadError, Task, Workers
from stepcoder_trl.executor.verdict.limits import Limits
from stepcoder_trl.executor.verdict.prepare import Job, prepare_job
from stepcoder_trl.executor.verdict.recent import RecentTests
from stepcoder_trl.executor.verdict.schema import Tests
from stepcoder_trl.jsonl import shown
from stepcoder_trl.types import Execution


class CodeExecutor(ConfiguredBackend):
    """
    Executor that runs untrusted Python programs under unit tests, and records the lines that run.

    coverage.py's C tracer records them on Python 3.10 and 3.11. Later releases have `sys.monitoring`.

    Programs run in forked children of long-lived fork servers, never in this process and never in a fork of it. Use it
    as a context manager, or call [`~CodeExecutor.close`]. An executor that is not used any more is closed once its
    programs have run, or at exit. Several threads may share one. A process forked from this one gets servers of its
    own; a future stays with the process that submitted it. The executor installs no signal handlers.

    Args:
        config (`ExecutorConfig`, *optional*): Settings.

    Example:

    ```python
    >>> with CodeExecutor() as executor:
    ...     tests = {"type": "call", "fn_name": "f", "inputs": [[1]], "outputs": [2]}
    ...     executor.run("def f(x): return x + 1", tests).outcome
    <Outcome.PASSED: 'passed'>
    ```
    """

    config: ExecutorConfig

    def __init__(self, config: ExecutorConfig | None = None, **misplaced: Any) -> None:
        refuse_keywords(misplaced, "CodeExecutor", ExecutorConfig, "CodeExecutor(ExecutorConfig({}))")
        if config is not None and not isinstance(config, ExecutorConfig):
            raise BadInputError(
                f"`config` is {shown(config)}, but must be an `ExecutorConfig`. Pass its fields to one."
            )
        self.config = config or ExecutorConfig()
        # The first call takes a lock while it tries folders. A process that is forked meanwhile would wait for it for
        # ever, so it comes before there are threads.
        tempfile.gettempdir()
        self._recent = RecentTests()
        self._lock = threading.Lock()
        self._workers: Workers | None = None
        self._closed = False
        self._finalizer: weakref.finalize[..., Any] | None = None
        _executors.add(self)

    def submit(self, program: str, tests: TestsLike) -> Future[Execution]:
        """Run a program in the background, see [`Backend`]."""
        return self.submit_with(program, tests, self.config)

    def submit_with(self, program: str, tests: TestsLike, limits: Limits) -> Future[Execution]:
        """Run a program in the background under other limits. Their `isolation` has no effect."""
        if not isinstance(program, str):
            raise BadInputError(
                f"`program` is {shown(program)}, but must be a string. Pass the source of the program."
            )
        parsed = self._recent.parse(tests)
        if parsed["type"] == "checker":
            return submit_checked(self._submit, program, parsed, limits)
        return self._submit(program, parsed, limits)

    def submit_job(self, job: Job) -> Future[Execution]:
        """Run a prepared program in the background. The outputs of tests with a checker are not checked."""
        task = Task(job, owner=self)
        try:
            self._running_workers().put(task)
        except NoThreadError as error:
            task.settle(error)
        return task.future

    def _submit(self, program: str, tests: Tests, limits: Limits) -> Future[Execution]:
        examine = not server_process.PORTABLE
        return self.submit_job(prepare_job(program, tests, limits, examine))

    @property
    def layers(self) -> dict[str, bool]:
        """Return the isolation layers by name, `True` where active. Starts a fork server if none runs."""
        return dict(self._started_workers().layers)

    @property
    def missing_layers(self) -> dict[str, str]:
        """Return the missing isolation layers, and what each would have prevented."""
        return dict(self._started_workers().missing)

    def close(self) -> None:
        """
        End all fork servers. Closing twice is allowed.

        Programs that have not started are cancelled. Programs that run are ended, and their futures raise a
        `SandboxError`.
        """
        with self._lock:
            self._closed = True
            workers, self._workers = self._workers, None
        if workers is not None:
            workers.close()

    def _started_workers(self) -> Workers:
        """Return workers of which one has started its fork server."""
        if not (self._workers and self._workers.layers):
            self.run(HARMLESS_PROGRAM, HARMLESS_TESTS)
        return self._running_workers()

    def _running_workers(self) -> Workers:
        with self._lock:
            if self._closed:
                raise SandboxError(CLOSED_MESSAGE)
            if self._workers is None or self._workers.pid != os.getpid():
                try:
                    self._workers = Workers(self.config)
                except OSError as error:
                    raise NoThreadError(
                        f"The sandbox could not start ({error}). Raise the number of open files allowed (`ulimit -n`)."
                    ) from None
                self._finalizer = weakref.finalize(self, self._workers.close)
            return self._workers

    def _forget_parent(self) -> None:
        """Start without workers in a forked process. Another thread of the parent may have held the lock."""
        self._lock = threading.Lock()
        self._workers = None
        if self._finalizer is not None:
            self._finalizer.detach()


_executors: weakref.WeakSet[CodeExecutor] = weakref.WeakSet()


def _after_fork() -> None:
    descriptors.close_all()
    for executor in tuple(_executors):
        executor._forget_parent()


os.register_at_fork(after_in_child=_after_fork)
