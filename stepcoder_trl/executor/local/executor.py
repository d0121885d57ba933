"""
Pool of fork servers: what callers see of the executor.

One thread per server hands it jobs from a common queue and reads the replies. Servers that die or fall silent are
replaced; the job they had is run again. Nothing waits for ever: every read and write has a deadline, and closing wakes
them all.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import queue
import select
import signal
import subprocess
import sys
import tempfile
import threading
import time
import weakref
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from stepcoder_trl.errors import BadInputError, IsolationError, SandboxError
from stepcoder_trl.executor.announce import announce, start_failure
from stepcoder_trl.executor.backend import HARMLESS_PROGRAM, HARMLESS_TESTS, BaseBackend, TestsLike
from stepcoder_trl.executor.verdict.judge import judge_reply, judge_test, worker_lost
from stepcoder_trl.executor.verdict.limits import Isolation, Limits, check_isolation
from stepcoder_trl.executor.verdict.prepare import Job, prepare_job
from stepcoder_trl.executor.verdict.schema import Tests
from stepcoder_trl.executor.wire.codec import json_bytes
from stepcoder_trl.executor.wire.scratch import remove
from stepcoder_trl.executor.wire.system import is_portable, num_cores
from stepcoder_trl.types import Execution, Outcome


START_TIMEOUT_S = 120.0
LEAVE_TIMEOUT_S = 2.0  # a server that is asked to leave has this long to end its program and remove its folder
PORTABLE = is_portable()  # a fork server per program; tests switch it on under Linux
_ATTEMPTS = 2
_KILLINGS = 50  # a server that someone else killed says nothing about the program: tried again this often
_CLOSED = "This executor is closed. Create a new one."

logger = logging.getLogger(__name__)


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
        keep_outputs (`bool`, *optional*, defaults to `False`):
            Keep what each stdio test printed and each call returned in `TestResult.output`.
        hash_seed (`int`, *optional*, defaults to `0`):
            `PYTHONHASHSEED` of the programs, from 0 to 4294967295: the order of their sets depends on it.
    """

    num_workers: int | None = None
    timeout_s: float = 3.0
    program_timeout_s: float | None = None
    memory_limit_bytes: int = 512 * 2**20
    isolation: Isolation = "auto"
    stop_on_first_failure: bool = False
    float_tolerance: float | None = None
    fresh_process_per_test: bool = False
    keep_outputs: bool = False
    hash_seed: int = 0

    def __post_init__(self) -> None:
        if self.num_workers is not None and self.num_workers < 1:
            raise BadInputError(
                f"`num_workers` is {self.num_workers}, but must be at least 1. Leave it out for one per core."
            )
        check_isolation(self.isolation)
        _ = self.limits  # checks its fields
        if not 0 <= self.hash_seed < 2**32:
            raise BadInputError(f"`hash_seed` is {self.hash_seed}, but must be from 0 to 4294967295.")

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
            keep_outputs=self.keep_outputs,
        )


class _WorkerLost(Exception):
    """The fork server died, fell silent or sent what it never sends."""


class _Closing(Exception):
    """The executor is being closed while a program runs."""


# Descriptors of this process's servers. A process forked off this one closes its copies: a server ends when the last
# one is closed, and a reply pipe that someone else can write to never ends.
_descriptors: set[int] = set()


def _pipe() -> tuple[int, int]:
    ends = os.pipe()
    _descriptors.update(ends)
    return ends


def _close(descriptor: int) -> None:
    if descriptor in _descriptors:
        _descriptors.discard(descriptor)  # first: the number may be taken at once
        os.close(descriptor)


def _checks_file() -> int:
    """Descriptor of a file that the server hands to its examiner, unread."""
    descriptor = os.open(os.devnull, os.O_RDONLY) if PORTABLE else os.memfd_create("checks", os.MFD_CLOEXEC)
    _descriptors.add(descriptor)
    return descriptor


class _Server:
    """Parent's side of one fork server process."""

    def __init__(self, config: ExecutorConfig, wakeup: int) -> None:
        self.ready = False
        self.scratch = tempfile.mkdtemp(prefix="stepcoder-")
        self.layers: dict[str, bool] = {}
        self.missing: dict[str, str] = {}
        self._isolation = config.isolation
        request_read, self._requests = _pipe()
        self._replies, reply_write = _pipe()
        self._checks = _checks_file()
        self._wakeup = wakeup
        os.set_blocking(self._requests, False)  # a stopped server does not read
        self._poll = select.poll()  # a trainer may have more descriptors than `select` can name
        self._poll.register(self._replies, select.POLLIN)
        self._poll.register(wakeup, select.POLLIN)
        try:
            self.process = subprocess.Popen(
                [sys.executable, "-s", "-B", "-c", _bootstrap(request_read, reply_write, self._checks)],
                pass_fds=(request_read, reply_write, self._checks),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env=_environment(self.scratch, config.hash_seed),
                cwd=self.scratch,
                start_new_session=True,
            )
        except BaseException:
            self._close_pipes()
            remove(self.scratch)
            raise
        finally:
            _close(request_read)
            _close(reply_write)

    def greet(self) -> None:
        """Wait until the server is ready for jobs."""
        deadline = time.monotonic() + START_TIMEOUT_S
        self.send(json_bytes({"scratch": self.scratch, "isolation": self._isolation, "portable": PORTABLE}), deadline)
        greeting = self.receive(deadline)
        if "infrastructure" in greeting:
            raise start_failure(greeting)
        self.layers, self.missing = greeting["layers"], greeting["missing"]
        self.ready = True

    def send(self, message: bytes, deadline: float) -> None:
        rest = memoryview(len(message).to_bytes(4, "little") + message)
        while rest:
            try:
                rest = rest[os.write(self._requests, rest) :]
            except BlockingIOError:
                self._wait_for_room(deadline)
            except BrokenPipeError:
                raise _WorkerLost("worker ended") from None

    def _wait_for_room(self, deadline: float) -> None:
        poll = select.poll()
        poll.register(self._requests, select.POLLOUT)
        poll.register(self._wakeup, select.POLLIN)
        if self._wakeup in dict(poll.poll(_milliseconds_until(deadline))):
            raise _Closing

    def receive(self, deadline: float) -> Any:
        size = int.from_bytes(self._read(4, deadline), "little")
        try:
            return json.loads(self._read(size, deadline))
        except (ValueError, RecursionError) as error:
            raise _WorkerLost(f"worker sent garbage: {error}") from None

    def _read(self, size: int, deadline: float) -> bytes:
        data = bytearray()
        while len(data) < size:
            there = dict(self._poll.poll(_milliseconds_until(deadline)))
            if self._replies in there:
                part = os.read(self._replies, min(size - len(data), 2**20))
                if not part:
                    raise _WorkerLost("worker ended")
                data += part
            elif self._wakeup in there:
                raise _Closing
        return bytes(data)

    def run(self, job: Job) -> Execution:
        deadline = time.monotonic() + job.tests.deadline_s
        if job.tests.checks:
            os.pwrite(self._checks, job.tests.checks, 0)  # the server itself must not see them: it becomes the program
        self.send(job.message, deadline)
        reply = self.receive(deadline)
        while "test" in reply:
            passed = judge_test(job.tests.judges[reply["test"]], reply["result"]).outcome is Outcome.PASSED
            self.send(json_bytes("go" if passed else "stop"), deadline)
            reply = self.receive(deadline)
        if "not_plain" in reply:
            return self.run(job.without_examiner())
        return judge_reply(job.program, job.tests.judges, reply)

    def kill(self) -> bool:
        """
        End the process, which takes its child along, and remove its folder.

        Returns:
            `bool`: Whether it had been killed by someone else. Programs cannot do that where seccomp is in force.
        """
        self._close_pipes()  # a healthy server ends when its requests do
        try:
            status = self.process.wait(timeout=LEAVE_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            status = 0
            self.process.kill()
            self.process.wait()
        remove(self.scratch)
        return status in (-signal.SIGKILL, -signal.SIGTERM) and (not self.ready or self.layers["seccomp"])

    def _close_pipes(self) -> None:
        _close(self._requests)
        _close(self._replies)
        _close(self._checks)


def _milliseconds_until(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise _WorkerLost("worker did not answer in time")
    return min(left, 3600) * 1000


def _bootstrap(requests: int, replies: int, checks: int) -> str:
    """Code for `python -c`: only our package is importable from here, not what lies beside it."""
    root = str(Path(__file__).parents[3])
    # The server has one thread, so modules have nothing to mend after a fork; doing it would cost a quarter of one.
    return (
        f"import os; os.register_at_fork = lambda **callbacks: None; "
        f"import sys; sys.path[0] = {root!r}; from stepcoder_trl.executor.server import main as server; "
        f"sys.path.pop(0); server.main({requests}, {replies}, {checks})"
    )


def _environment(scratch: str, hash_seed: int) -> dict[str, str]:
    """Nothing of the trainer's environment: it may hold tokens."""
    threads = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS")
    return {
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "HOME": scratch,
        "TMPDIR": scratch,
        "LANG": "C.UTF-8",
        "PYTHONHASHSEED": str(hash_seed),
        "PYTHONUTF8": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
        **dict.fromkeys(threads, "1"),
    }


@dataclass
class _Task:
    job: Job
    owner: CodeExecutor  # lives until its programs have run
    future: Future[Execution] = field(default_factory=Future)

    def cancel(self) -> None:
        self.future.cancel()
        self.future.set_running_or_notify_cancel()

    def settle(self, result: Execution | Exception) -> None:
        try:
            if isinstance(result, Exception):
                self.future.set_exception(result)
            else:
                self.future.set_result(result)
        except BaseException:  # a callback of the future's owner; this thread serves others too
            logger.exception("A callback of a program's future failed.")


class _Workers:
    """Threads, queue and servers of one executor. Holds no reference to the executor, so that it can be collected."""

    def __init__(self, config: ExecutorConfig) -> None:
        self.config = config
        self.pid = os.getpid()
        self.queue: queue.SimpleQueue[_Task | None] = queue.SimpleQueue()
        self.closed = False
        self.lock = threading.RLock()  # the garbage collector may close while this thread holds it
        self.layers: dict[str, bool] = {}
        self.missing: dict[str, str] = {}
        self.wakeup, self._alarm = _pipe()
        count = config.num_workers or num_cores()
        self.threads = [
            threading.Thread(target=self._serve, name=f"stepcoder-worker-{index}", daemon=True)
            for index in range(count)
        ]
        self._serving = count
        for thread in self.threads:
            thread.start()

    def put(self, task: _Task) -> None:
        with self.lock:
            if self.closed:
                raise SandboxError(_CLOSED)
            self.queue.put(task)

    def _serve(self) -> None:
        server: _Server | None = None
        try:
            while (task := self.queue.get()) is not None:
                if self.closed:
                    task.cancel()
                elif task.future.set_running_or_notify_cancel():
                    server, result = self._run(server, task.job)
                    task.settle(result)
                    del result
                del task  # and with it the executor, if nobody else holds it
        finally:
            if server is not None:
                server.kill()
            with self.lock:
                self._serving -= 1
                last = not self._serving
            if last:
                _close(self.wakeup)
                _close(self._alarm)

    def _run(self, server: _Server | None, job: Job) -> tuple[_Server | None, Execution | Exception]:
        """Run one job to its end, whatever happens to servers; returns the server to go on with and the result."""
        losses = failures = killings = 0
        error: Exception | None = None
        while losses < _ATTEMPTS and failures < _ATTEMPTS and killings < _KILLINGS:
            try:
                server = server or _Server(self.config, self.wakeup)
                self._greet(server)
                execution = server.run(job)
                if PORTABLE:  # nothing keeps a program from harming its server
                    server.kill()
                    server = None
                return server, execution
            except _Closing:
                return server, SandboxError("This executor was closed before the program had ended.")
            except IsolationError as refusal:  # trying again changes nothing
                if server is not None:
                    server.kill()
                return None, refusal
            except (_WorkerLost, SandboxError, OSError) as problem:
                error = problem
                if server is not None and server.kill():
                    killings += 1
                elif isinstance(problem, _WorkerLost) and server is not None and server.ready:
                    losses += 1
                else:
                    failures += 1
                server = None
            except Exception as bug:
                return server, bug
        if losses == _ATTEMPTS:
            server = self._healthy_server()
            if server is not None:
                return server, worker_lost(job.program, len(job.tests.judges))
        return None, SandboxError(
            f"A program could not be executed ({error}). Check free disk space, memory and the number of "
            f"processes allowed; `stepcoder-trl env` shows the sandbox's layers."
        )

    def _greet(self, server: _Server) -> None:
        if not server.ready:
            server.greet()
            self.layers, self.missing = server.layers, server.missing
            announce(self.layers, self.missing, self.config.isolation)

    def _healthy_server(self) -> _Server | None:
        """New server that runs a harmless program as it should, or `None`: then the fault is not the job's."""
        job = prepare_job(HARMLESS_PROGRAM, Tests.parse(HARMLESS_TESTS), Limits(10.0, None, 512 * 2**20))
        server, result = None, None
        try:
            server = _Server(self.config, self.wakeup)
            server.greet()
            result = server.run(job)
        except (_Closing, _WorkerLost, SandboxError, OSError):
            pass
        if server is not None and (result is None or result.outcome is not Outcome.PASSED):
            server.kill()
            return None
        return server

    def close(self) -> None:
        """End all servers now; what runs gets an error, what waits is cancelled."""
        if os.getpid() != self.pid:  # after a fork the servers belong to the parent
            return
        with self.lock:
            if not self.closed:
                self.closed = True
                os.write(self._alarm, b"!")
                for _ in self.threads:
                    self.queue.put(None)
        if threading.current_thread() in self.threads:  # called by a callback, or by the garbage collector
            return
        for thread in self.threads:
            thread.join()


class CodeExecutor(BaseBackend):
    """
    Runs untrusted Python programs under unit tests, traced by coverage.py.

    Programs run in forked children of long-lived fork servers, never in this process and never in a fork of it. Use it
    as a context manager, or call [`~CodeExecutor.close`]; an executor that is forgotten is closed once its programs
    have run, or at exit. Safe to use from several threads, and from a process forked off this one, which gets servers
    of its own (futures stay with the process that submitted them). It installs no signal handlers.

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
        _executors.add(self)

    def __reduce__(self) -> tuple[type[CodeExecutor], tuple[ExecutorConfig]]:
        """Another process gets an executor with the same settings: dataset workers that are spawned pickle it."""
        return type(self), (self.config,)

    @property
    def timeout_s(self) -> float:
        """CPU seconds of one test, unless the tests say otherwise."""
        return self.config.timeout_s

    def submit(self, program: str, tests: TestsLike) -> Future[Execution]:
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
        job = prepare_job(program, Tests.parse(tests), self.config.limits, examine=not PORTABLE)
        task = _Task(job, self)
        self._running_workers().put(task)
        return task.future

    @property
    def layers(self) -> dict[str, bool]:
        """Sandbox layers by name and whether each is in force. Starts a worker if none runs."""
        if not (self._workers and self._workers.layers):
            self.run(HARMLESS_PROGRAM, HARMLESS_TESTS)
        return dict(self._running_workers().layers)

    @property
    def missing_layers(self) -> dict[str, str]:
        """Layers that this machine does not have, and what each would have stopped."""
        _ = self.layers
        return dict(self._running_workers().missing)

    def close(self) -> None:
        """
        End all workers at once. Closing twice is fine.

        Programs that have not started are cancelled, those that run are ended: their futures raise a `SandboxError`.
        """
        with self._lock:
            self._closed = True
            workers, self._workers = self._workers, None
        if workers is not None:
            workers.close()

    def _running_workers(self) -> _Workers:
        with self._lock:
            if self._closed:
                raise SandboxError(_CLOSED)
            if self._workers is None or self._workers.pid != os.getpid():
                self._workers = _Workers(self.config)
                self._finalizer = weakref.finalize(self, self._workers.close)
            return self._workers

    def _forget_parent(self) -> None:
        """Begin anew in a process forked off: another thread may have held the lock."""
        self._lock = threading.Lock()
        self._workers = None
        if self._finalizer is not None:
            self._finalizer.detach()


_executors: weakref.WeakSet[CodeExecutor] = weakref.WeakSet()


def _after_fork() -> None:
    for descriptor in tuple(_descriptors):
        with contextlib.suppress(OSError):
            _close(descriptor)
    for executor in tuple(_executors):
        executor._forget_parent()


os.register_at_fork(after_in_child=_after_fork)
