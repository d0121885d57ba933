"""
Pool of fork servers: what callers see of the executor.

One thread per server hands it jobs from a common queue and reads the replies. Servers that die or fall silent are
replaced; the job they had is run again once.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import queue
import select
import subprocess
import sys
import tempfile
import threading
import time
import weakref
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

from stepcoder_trl.errors import BadInputError, SandboxError
from stepcoder_trl.executor.backend import BaseBackend
from stepcoder_trl.executor.jobs import Job, Limits, judge_job, judge_test, make_execution, prepare_job
from stepcoder_trl.executor.protocol import frame, write_all
from stepcoder_trl.executor.scratch import remove
from stepcoder_trl.executor.tests_schema import validate_tests
from stepcoder_trl.types import Execution, Outcome, TestResult


START_TIMEOUT_S = 120.0
_ATTEMPTS = 2
_CANARY_PROGRAM = "print(input())\n"
_CANARY_TESTS: dict[str, Any] = {"type": "stdio", "inputs": ["ok"], "outputs": ["ok"]}


@dataclass(frozen=True)
class ExecutorConfig:
    """
    Settings of a [`CodeExecutor`].

    Args:
        num_workers (`int`, *optional*):
            Fork servers, each running one program at a time. Defaults to the cores this process may use.
        timeout_s (`float`, *optional*, defaults to `3.0`):
            CPU seconds of one test, tracing included; sleepers get three times that of wall time.
        program_timeout_s (`float`, *optional*):
            CPU seconds of all tests of a program together. Defaults to five times `timeout_s`.
        memory_limit_bytes (`int`, *optional*, defaults to 512 MiB):
            Address space of a program on top of the server's own.
        isolation (`str`, *optional*, defaults to `"auto"`):
            `"auto"` puts every layer in force that this machine has, `"strict"` refuses to run without one of them,
            `"none"` leaves resource limits and process groups only.
        stop_on_first_failure (`bool`, *optional*, defaults to `False`):
            Do not run the tests after the first that does not pass.
        float_tolerance (`float`, *optional*):
            Compare words of standard output that are numbers with this tolerance. Off by default.
        fresh_process_per_test (`bool`, *optional*, defaults to `False`):
            Fork for every test, so that nothing a program leaves in imported modules reaches the next one.
        granularity (`str`, *optional*, defaults to `"lines"`):
            What is traced. Only `"lines"` so far.
    """

    num_workers: int | None = None
    timeout_s: float = 3.0
    program_timeout_s: float | None = None
    memory_limit_bytes: int = 512 * 2**20
    isolation: Literal["auto", "strict", "none"] = "auto"
    stop_on_first_failure: bool = False
    float_tolerance: float | None = None
    fresh_process_per_test: bool = False
    granularity: Literal["lines"] = "lines"

    def __post_init__(self) -> None:
        if self.num_workers is not None and self.num_workers < 1:
            raise BadInputError(
                f"`num_workers` is {self.num_workers}, but must be at least 1. Leave it out for one per core."
            )
        for name in ("timeout_s", "program_timeout_s"):
            value = getattr(self, name)
            if value is not None and not (value > 0 and math.isfinite(value)):
                raise BadInputError(f"`{name}` is {value}, but must be a positive number of seconds.")
        if self.memory_limit_bytes < 2**20:
            raise BadInputError(
                f"`memory_limit_bytes` is {self.memory_limit_bytes}, but must be at least 1048576. It counts bytes: "
                f"write 512 * 2**20 for 512 MiB."
            )
        if self.isolation not in ("auto", "strict", "none"):
            raise BadInputError(f"`isolation` is {self.isolation!r}, but must be 'auto', 'strict' or 'none'.")
        if self.granularity != "lines":
            raise BadInputError(f"`granularity` is {self.granularity!r}, but only 'lines' is supported.")

    @property
    def limits(self) -> Limits:
        """Limits that a job gets unless its tests say otherwise."""
        return Limits(
            timeout_s=self.timeout_s,
            program_timeout_s=self.program_timeout_s,
            memory_limit_bytes=self.memory_limit_bytes,
            float_tolerance=self.float_tolerance,
            stop_on_first_failure=self.stop_on_first_failure,
            fresh_process_per_test=self.fresh_process_per_test,
        )


class _WorkerLost(Exception):
    """The fork server died, fell silent or sent what it never sends."""


class _Server:
    """Parent's side of one fork server process."""

    def __init__(self, config: ExecutorConfig) -> None:
        self.scratch = tempfile.mkdtemp(prefix="stepcoder-")
        self.layers: dict[str, bool] = {}
        self.missing: dict[str, str] = {}
        request_read, self._requests = os.pipe()
        self._replies, reply_write = os.pipe()
        self._poll = select.poll()  # a trainer may have more descriptors than `select` can name
        self._poll.register(self._replies, select.POLLIN)
        try:
            self.process = subprocess.Popen(
                [sys.executable, "-s", "-B", "-c", _bootstrap(request_read, reply_write)],
                pass_fds=(request_read, reply_write),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env=_environment(self.scratch),
                cwd=self.scratch,
                start_new_session=True,
            )
        except BaseException:
            self._close_pipes()
            remove(self.scratch)
            raise
        finally:
            os.close(request_read)
            os.close(reply_write)
        try:
            self.send({"scratch": self.scratch, "isolation": config.isolation})
            greeting = self.receive(time.monotonic() + START_TIMEOUT_S)
            if "infrastructure" in greeting:
                raise SandboxError(f"A sandbox worker could not start: {greeting['infrastructure']}")
        except BaseException:
            self.kill()
            raise
        self.layers, self.missing = greeting["layers"], greeting["missing"]

    def send(self, message: Any) -> None:
        try:
            write_all(self._requests, frame(message))
        except BrokenPipeError:
            raise _WorkerLost("worker ended") from None

    def receive(self, deadline: float) -> Any:
        size = int.from_bytes(self._read(4, deadline), "little")
        try:
            return json.loads(self._read(size, deadline))
        except (ValueError, RecursionError) as error:
            raise _WorkerLost(f"worker sent garbage: {error}") from None

    def _read(self, size: int, deadline: float) -> bytes:
        data = bytearray()
        while len(data) < size:
            left = deadline - time.monotonic()
            if left <= 0:
                raise _WorkerLost("worker did not answer in time")
            if not self._poll.poll(min(left, 3600) * 1000):
                continue
            part = os.read(self._replies, min(size - len(data), 2**20))
            if not part:
                raise _WorkerLost("worker ended")
            data += part
        return bytes(data)

    def run(self, job: Job) -> Execution:
        deadline = time.monotonic() + job.deadline_s
        self.send(job.message)
        reply = self.receive(deadline)
        while "tests" not in reply and "infrastructure" not in reply:
            passed = judge_test(job, reply["test"], reply["result"]).outcome is Outcome.PASSED
            self.send("go" if passed else "stop")
            reply = self.receive(deadline)
        return judge_job(job, reply)

    def kill(self) -> None:
        """End the process, which takes its child along, and remove its folder."""
        self._close_pipes()  # a healthy server ends when its requests do
        try:
            self.process.wait(timeout=2)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        remove(self.scratch)

    def _close_pipes(self) -> None:
        for descriptor in (self._requests, self._replies):
            with contextlib.suppress(OSError):
                os.close(descriptor)


def _bootstrap(requests: int, replies: int) -> str:
    """Code for `python -c`: only our package is importable from here, not what lies beside it."""
    root = str(Path(__file__).parents[2])
    return (
        f"import sys; sys.path[0] = {root!r}; from stepcoder_trl.executor import zygote; "
        f"sys.path.pop(0); zygote.main({requests}, {replies})"
    )


def _environment(scratch: str) -> dict[str, str]:
    """Nothing of the trainer's environment: it may hold tokens."""
    threads = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS")
    return {
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "HOME": scratch,
        "TMPDIR": scratch,
        "LANG": "C.UTF-8",
        "PYTHONHASHSEED": "0",
        "PYTHONUTF8": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
        **dict.fromkeys(threads, "1"),
    }


@dataclass
class _Task:
    job: Job
    future: Future[Execution] = field(default_factory=Future)
    losses: int = 0


class _Workers:
    """Threads, queue and servers of one executor. Holds no reference to the executor, so that it can be collected."""

    def __init__(self, config: ExecutorConfig) -> None:
        self.config = config
        self.pid = os.getpid()
        self.queue: queue.SimpleQueue[_Task | None] = queue.SimpleQueue()
        self.closed = threading.Event()
        self.layers: dict[str, bool] = {}
        self.missing: dict[str, str] = {}
        count = config.num_workers or len(os.sched_getaffinity(0))
        self.threads = [
            threading.Thread(target=self._serve, name=f"stepcoder-worker-{index}", daemon=True)
            for index in range(count)
        ]
        for thread in self.threads:
            thread.start()

    def _serve(self) -> None:
        server: _Server | None = None
        try:
            while (task := self.queue.get()) is not None:
                if self.closed.is_set():
                    task.future.cancel()
                elif task.future.set_running_or_notify_cancel():
                    try:
                        server = self._run(server, task)
                    except Exception as bug:  # nobody may wait for ever, and this thread serves others
                        server = None
                        task.future.set_exception(bug)
        finally:
            if server is not None:
                server.kill()

    def _run(self, server: _Server | None, task: _Task) -> _Server | None:
        """Run one task to its end, whatever happens to servers; returns the server to go on with."""
        error: Exception | None = None
        for _ in range(_ATTEMPTS):
            try:
                server = server or self._start()
                task.future.set_result(server.run(task.job))
                return server
            except (_WorkerLost, SandboxError, OSError) as problem:
                error = problem
                task.losses += isinstance(problem, _WorkerLost)
                if server is not None:
                    server.kill()
                    server = None
            except Exception as bug:
                task.future.set_exception(bug)
                return server
        try:
            if task.losses == _ATTEMPTS and self._healthy(server := self._start()):
                task.future.set_result(_worker_lost(task.job))
                return server
        except (_WorkerLost, SandboxError, OSError) as problem:
            error = problem
        task.future.set_exception(
            SandboxError(
                f"A program could not be executed ({error}). Check free disk space, memory and the number of "
                f"processes allowed; `stepcoder-trl env` shows the sandbox's layers."
            )
        )
        return server

    def _start(self) -> _Server:
        server = _Server(self.config)
        self.layers, self.missing = server.layers, server.missing
        return server

    def _healthy(self, server: _Server) -> bool:
        job = prepare_job(_CANARY_PROGRAM, _CANARY_TESTS, Limits(10.0, None, 512 * 2**20))
        return server.run(job).outcome is Outcome.PASSED

    def close(self) -> None:
        if self.closed.is_set() or os.getpid() != self.pid:  # after a fork the servers belong to the parent
            return
        self.closed.set()
        for _ in self.threads:
            self.queue.put(None)
        for thread in self.threads:
            if thread is not threading.current_thread():
                thread.join()


def _worker_lost(job: Job) -> Execution:
    result = TestResult(Outcome.RUNTIME_ERROR, message="worker lost")
    return make_execution(job.program, [result] * len(job.judges), None, 0.0)


class CodeExecutor(BaseBackend):
    """
    Runs untrusted Python programs under unit tests, traced by coverage.py.

    Programs run in forked children of long-lived fork servers, never in this process and never in a fork of it. Use it
    as a context manager, or call [`~CodeExecutor.close`]; an executor that is forgotten is closed at exit. Safe to use
    from several threads, and from a process forked off this one, which gets servers of its own.

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

    def __init__(self, config: ExecutorConfig | None = None) -> None:
        self.config = config or ExecutorConfig()
        self._lock = threading.Lock()
        self._workers: _Workers | None = None
        self._closed = False
        self._finalizer: weakref.finalize[..., Any] | None = None

    def __enter__(self) -> CodeExecutor:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def timeout_s(self) -> float:
        """CPU seconds of one test, unless the tests say otherwise."""
        return self.config.timeout_s

    def submit(self, program: str, tests: Mapping[str, Any] | str) -> Future[Execution]:
        """
        Run a program in the background.

        Args:
            program (`str`): Source text. A program is data: whatever it holds, it is run.
            tests (`Mapping` or `str`): Tests object, or its JSON text.

        Returns:
            `Future[Execution]`: Raises [`SandboxError`] if the program could not be executed.

        Raises:
            BadInputError: If the tests are malformed.
            SandboxError: If the executor is closed.
        """
        job = prepare_job(program, validate_tests(tests), self.config.limits)
        task = _Task(job)
        self._running_workers().queue.put(task)
        return task.future

    def run(self, program: str, tests: Mapping[str, Any] | str) -> Execution:
        """Run a program and wait; see [`~CodeExecutor.submit`]."""
        return self.submit(program, tests).result()

    def run_many(
        self,
        programs: Sequence[str],
        tests: Sequence[Mapping[str, Any] | str],
        on_error: Literal["raise", "return"] = "raise",
    ) -> list[Any]:
        """
        Run programs on all workers and return their results in order.

        Args:
            programs (`Sequence[str]`): Source texts.
            tests (`Sequence`): Tests of each program.
            on_error (`str`): `"raise"` the first [`SandboxError`], or `"return"` it in its slot.

        Returns:
            `list[Execution]`: With `on_error="return"`, slots may hold a `SandboxError` instead.
        """
        if len(programs) != len(tests):
            raise BadInputError(
                f"{len(programs)} programs, but {len(tests)} tests. Pass one tests object per program."
            )
        if on_error not in ("raise", "return"):
            raise BadInputError(f"`on_error` is {on_error!r}, but must be 'raise' or 'return'.")
        futures = [self.submit(program, test) for program, test in zip(programs, tests, strict=True)]
        results: list[Any] = []
        for future in futures:
            try:
                results.append(future.result())
            except SandboxError as error:
                if on_error == "raise":
                    for other in futures:
                        other.cancel()
                    raise
                results.append(error)
        return results

    @property
    def layers(self) -> dict[str, bool]:
        """Sandbox layers by name and whether each is in force. Starts a worker if none runs."""
        if not (self._workers and self._workers.layers):
            self.run(_CANARY_PROGRAM, _CANARY_TESTS)
        return dict(self._running_workers().layers)

    @property
    def missing_layers(self) -> dict[str, str]:
        """Layers that this machine does not have, and what each would have stopped."""
        _ = self.layers
        return dict(self._running_workers().missing)

    def close(self) -> None:
        """End all workers. Programs that have not started are cancelled. Closing twice is fine."""
        with self._lock:
            self._closed = True
            if self._finalizer is not None:
                self._finalizer()

    def _running_workers(self) -> _Workers:
        with self._lock:
            if self._closed:
                raise SandboxError("This executor is closed. Create a new one.")
            if self._workers is None or self._workers.pid != os.getpid():
                self._workers = _Workers(self.config)
                self._finalizer = weakref.finalize(self, self._workers.close)
            return self._workers
