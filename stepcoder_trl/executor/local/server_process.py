"""Start a fork server and talk to it. This is the caller's end; `executor.server` holds the server's."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from stepcoder_trl.executor.announce import start_failure
from stepcoder_trl.executor.local import descriptors
from stepcoder_trl.executor.local.config import ExecutorConfig
from stepcoder_trl.executor.verdict.judge import judge_reply, judge_test
from stepcoder_trl.executor.verdict.prepare import Job
from stepcoder_trl.executor.wire.frames import frame
from stepcoder_trl.executor.wire.messages import EXIT_KILLED, GO, STOP, JobAnswer, Settings, StartMessage
from stepcoder_trl.executor.wire.scratch import random_name, remove_all
from stepcoder_trl.executor.wire.system import is_portable
from stepcoder_trl.types import Execution, Outcome


START_TIMEOUT_S = 120.0
STOP_TIMEOUT_S = 2.0  # time for a server to end its program and to remove its folder
PORTABLE = is_portable()  # tests set it on Linux
_LENGTH_BYTES = 4  # of the length before each message
_READ_BYTES = 2**20


class ServerLost(Exception):
    """Raised if a fork server ends, does not answer in time, or sends an invalid message."""


class ExecutorClosing(Exception):
    """Raised if the executor is closed while a program runs."""


class ServerProcess:
    """
    Fork server process.

    It is started in a session and a scratch folder of its own, without the environment of this process. Every read
    and write has a deadline, and ends when the descriptor `wakeup` becomes readable: the executor is closed.
    """

    def __init__(self, config: ExecutorConfig, wakeup: int) -> None:
        self.ready = False
        self.single_use = PORTABLE  # a program could harm the server, so that each program needs a new one
        self.layers: dict[str, bool] = {}  # `True` where active
        self.missing: dict[str, str] = {}  # what each missing layer would have prevented
        self._isolation = config.isolation
        self._wakeup = wakeup
        # Not `mkdtemp`: its first call takes a lock, which a process that is forked meanwhile would inherit as held.
        self._folder = os.path.join(tempfile.gettempdir(), f"stepcoder-{random_name()}")
        self._requests = self._replies = self._checks = -1
        theirs: list[int] = []
        os.mkdir(self._folder, 0o700)
        try:
            request_read, self._requests = descriptors.open_pipe()
            theirs.append(request_read)
            self._replies, reply_write = descriptors.open_pipe()
            theirs.append(reply_write)
            checks = os.open(os.devnull, os.O_RDONLY) if PORTABLE else os.memfd_create("checks", os.MFD_CLOEXEC)
            self._checks = descriptors.register(checks)
            os.set_blocking(self._requests, False)  # a stopped server does not read
            # `poll`, because a trainer may have descriptors with numbers that are too high for `select`.
            self._readable = select.poll()
            self._readable.register(self._replies, select.POLLIN)
            self._readable.register(wakeup, select.POLLIN)
            self._writable = select.poll()
            self._writable.register(self._requests, select.POLLOUT)
            self._writable.register(wakeup, select.POLLIN)
            self._process = subprocess.Popen(
                [sys.executable, "-s", "-B", "-c", _bootstrap(request_read, reply_write, self._checks)],
                pass_fds=(request_read, reply_write, self._checks),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env=_environment(self._folder, config.hash_seed),
                cwd=self._folder,
                start_new_session=True,
            )
        except BaseException:
            self._close_pipes()
            remove_all(self._folder)
            raise
        finally:
            for descriptor in theirs:
                descriptors.close(descriptor)

    def wait_until_ready(self) -> None:
        """Wait until the server has started. Raise a `SandboxError` if it cannot start or refuses to."""
        deadline = time.monotonic() + START_TIMEOUT_S
        settings = Settings(folder=self._folder, isolation=self._isolation, portable=self.single_use)
        self._send(frame(settings), deadline)
        greeting: StartMessage = self._receive(deadline)
        if "infrastructure" in greeting:
            raise start_failure(greeting)
        self.layers, self.missing = greeting["layers"], greeting["missing"]
        self.ready = True

    def run(self, job: Job) -> Execution:
        """Run one program. Raise a `SandboxError` if the server failed to run it."""
        deadline = time.monotonic() + job.tests.deadline_s
        if job.tests.checks:
            # The server passes the file to the examiner unread.
            os.pwrite(self._checks, job.tests.checks, 0)
        self._send(job.message, deadline)
        reply: JobAnswer = self._receive(deadline)
        while "test" in reply:
            passed = judge_test(job.tests.judges[reply["test"]], reply["result"]).outcome is Outcome.PASSED
            self._send(frame(GO if passed else STOP), deadline)
            reply = self._receive(deadline)
        tests = job.tests
        traced = tests.header["is_traced"]
        return judge_reply(job.program, tests.judges, reply, traced, tests.called, tests.sharing)

    def stop(self) -> bool:
        """
        End the process and its program, remove its folder, and return whether someone else had killed the process.

        A program cannot kill it where seccomp is active.
        """
        self._close_pipes()  # a healthy server ends when its requests end
        try:
            status = self._process.wait(timeout=STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            status = 0
            self._process.kill()
            self._process.wait()
        # The kernel kills the programs of a killed server a moment later. Until then they may still create files.
        deadline = time.monotonic() + STOP_TIMEOUT_S
        while not remove_all(self._folder) and time.monotonic() < deadline:
            time.sleep(0.01)
        if status == EXIT_KILLED:
            return True
        return status in (-signal.SIGKILL, -signal.SIGTERM) and (not self.ready or self.layers["seccomp"])

    def _send(self, message: bytes, deadline: float) -> None:
        rest = memoryview(message)
        while rest:
            try:
                rest = rest[os.write(self._requests, rest) :]
            except BlockingIOError:
                if self._wakeup in dict(self._writable.poll(_milliseconds_until(deadline))):
                    raise ExecutorClosing from None
            except BrokenPipeError:
                raise ServerLost("worker ended") from None

    def _receive(self, deadline: float) -> Any:
        size = int.from_bytes(self._read(_LENGTH_BYTES, deadline), "little")
        try:
            return json.loads(self._read(size, deadline))
        except (ValueError, RecursionError) as error:
            raise ServerLost(f"worker sent garbage: {error}") from None

    def _read(self, size: int, deadline: float) -> bytes:
        data = bytearray()
        while len(data) < size:
            events = dict(self._readable.poll(_milliseconds_until(deadline)))
            if self._replies in events:
                part = os.read(self._replies, min(size - len(data), _READ_BYTES))
                if not part:
                    raise ServerLost("worker ended")
                data += part
            elif self._wakeup in events:
                raise ExecutorClosing
        return bytes(data)

    def _close_pipes(self) -> None:
        descriptors.close(self._requests)
        descriptors.close(self._replies)
        descriptors.close(self._checks)


def _milliseconds_until(deadline: float) -> float:
    left_s = deadline - time.monotonic()
    if left_s <= 0:
        raise ServerLost("worker did not answer in time")
    return min(left_s, 3600) * 1000


def _bootstrap(requests: int, replies: int, checks: int) -> str:
    """Return the code for `python -c`. It imports this package, and nothing that lies beside it."""
    root = str(Path(__file__).parents[3])
    # The server has one thread, so no module needs its fork hooks. Running them would make a fork a quarter slower.
    return (
        f"import os; os.register_at_fork = lambda **callbacks: None; "
        f"import sys; sys.path[0] = {root!r}; from stepcoder_trl.executor.server import main as server; "
        f"sys.path.pop(0); server.main({requests}, {replies}, {checks})"
    )


def _environment(folder: str, hash_seed: int) -> dict[str, str]:
    """Return the server's environment. It holds nothing of ours, which may contain tokens."""
    return {
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "HOME": folder,
        "TMPDIR": folder,
        "LANG": "C.UTF-8",
        "PYTHONHASHSEED": str(hash_seed),
        "PYTHONUTF8": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
        **{f"{library}_NUM_THREADS": "1" for library in ("OMP", "OPENBLAS", "MKL", "NUMEXPR")},
    }
