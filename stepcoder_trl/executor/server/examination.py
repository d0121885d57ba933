"""Let the examiner examine tests: the handle of its process, and the examination of one child."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import select
import signal
import socket
from collections.abc import Sequence

from stepcoder_trl.executor.examiner.process import serve
from stepcoder_trl.executor.server.hardening.confine import Hardening
from stepcoder_trl.executor.wire.messages import GARBAGE, ExaminationRequest, Verdict
from stepcoder_trl.executor.wire.system import System


MAX_CPU_S = 2**31
_MEMORY_BYTES = 2**30  # 32 MiB of JSON become up to 640 MiB of Python objects
_VERDICT_BYTES = 2**16
_END_S = 1.0  # for an examiner that has closed its socket to end


class ExaminerLost(Exception):
    """Raised if the examiner died, but not by a limit. `was_killed`: somebody else killed it."""

    def __init__(self, was_killed: bool) -> None:
        super().__init__("the examiner ended")
        self.was_killed = was_killed


class Examiner:
    """
    Process of the examiner, which serves one program after the other.

    It reads the current program's checks from `checks_fd`, and closes the descriptors in `close`.
    """

    def __init__(self, checks_fd: int, hardening: Hardening, close: Sequence[int]) -> None:
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.pid = os.fork()
        if self.pid == 0:
            try:
                self._socket.close()
                for descriptor in close:
                    os.close(descriptor)
                serve(theirs, checks_fd, lambda: _confine(hardening))
            finally:
                os._exit(1)
        theirs.close()
        self.is_busy = False
        self._cpu_start = 0.0
        self._waited_start = 0.0

    def fileno(self) -> int:
        """Return the descriptor that becomes readable when there is a verdict."""
        return self._socket.fileno()

    def begin(self, request: ExaminationRequest, ends: Sequence[int]) -> None:
        """Start the examination of one test. `ends` are the pipes to and from a new child, or empty."""
        self._cpu_start = self._cpu_seconds()
        if ends:
            self._waited_start = _waited_seconds(self.pid)
        try:
            socket.send_fds(self._socket, [json.dumps(request).encode("ascii")], ends)
        except OSError as error:
            raise self._lost() from error
        self.is_busy = True

    def verdict(self, wait_s: float) -> Verdict | None:
        """Receive the verdict. Return `None` if there is none yet."""
        self._socket.settimeout(wait_s)
        try:
            data = self._socket.recv(_VERDICT_BYTES)
        except (BlockingIOError, TimeoutError):
            return None
        except OSError as error:
            raise self._lost() from error
        finally:
            self._socket.settimeout(None)
        if not data:
            raise self._lost()
        self.is_busy = False
        verdict: Verdict = json.loads(data)
        return verdict

    def has_ended(self) -> bool:
        """Return whether the examiner is not there any more. One that has ended is reaped."""
        if self.pid and os.waitpid(self.pid, os.WNOHANG)[0]:
            self.pid, self.is_busy = 0, False
            self._socket.close()
        return not self.pid

    def cpu_s(self) -> float:
        """Return the CPU seconds for the current test."""
        return self._cpu_seconds() - self._cpu_start

    def _cpu_seconds(self) -> float:
        return System().cpu_s(self.pid, 0.0)

    def waited_s(self) -> float:
        """Return the seconds in which the machine was too busy to run the examiner for the current program."""
        return max(_waited_seconds(self.pid) - self._waited_start, 0.0)

    def _lost(self) -> ExaminerLost | OSError:
        """Return the error for an examiner that has ended, or cannot be reached: then it is killed."""
        end = os.pidfd_open(self.pid)
        try:
            select.select([end], [], [], _END_S)
        finally:
            os.close(end)
        ended, status = os.waitpid(self.pid, os.WNOHANG)
        if not ended:
            self.kill()
            return OSError(errno.EAGAIN, "the examiner cannot be reached")
        self.pid, self.is_busy = 0, False
        self._socket.close()
        return ExaminerLost(was_killed=os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL)

    def kill(self) -> None:
        """Kill the examiner, if it was not killed before."""
        self._socket.close()
        if self.pid:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)
            with contextlib.suppress(ChildProcessError):
                os.waitpid(self.pid, 0)
        self.pid = 0
        self.is_busy = False


class Examination:
    """
    Examination of one child process. Does nothing if the tests need no examiner.

    The child reports when it has answered all questions of a test. By then the verdict has arrived. So the examiner
    needs to wake the server only if it ends, or if the child can no longer report.
    """

    def __init__(self, examiner: Examiner | None, checks_bytes: int, max_answer_bytes: int) -> None:
        self.verdict: Verdict | None = None  # on the current test
        self._examiner = examiner
        self._checks_bytes = checks_bytes
        self._max_answer_bytes = max_answer_bytes
        self._is_used_up = False
        self._pipes: tuple[int, ...] = ()
        self._poll: select.poll | None = None

    def connect(self, pipes: tuple[int, ...]) -> None:
        """Take the ends of the pipes to and from a new child, which are closed here once the examiner has them."""
        self._pipes = pipes if self.is_needed else _closed(pipes)

    def close(self) -> None:
        """Close all open ends."""
        self._pipes = _closed(self._pipes)

    @property
    def is_needed(self) -> bool:
        """Return whether the examiner judges tests of the child."""
        return self._examiner is not None

    # The course of an examination

    @property
    def is_running(self) -> bool:
        """Return whether a test is being examined."""
        return self._examiner is not None and self._examiner.is_busy

    def begin(self, index: int) -> None:
        """Start the examination of a test. Raise ValueError if the child asked for it out of order."""
        if self._examiner is None or self._examiner.is_busy or self.verdict is not None:
            raise ValueError("report out of order")
        request = ExaminationRequest(test=index, size=self._checks_bytes, max_bytes=self._max_answer_bytes)
        try:
            self._examiner.begin(request, self._pipes)
        except ExaminerLost as error:
            if error.was_killed or self._pipes:
                raise
            raise ValueError("the program's last test has ended the examiner") from None
        self._pipes = _closed(self._pipes)  # so that each side notices when the other ends

    def receive_verdict(self, wait_s: float = 0.0) -> None:
        """Receive the verdict, if there is one."""
        assert self._examiner is not None
        descriptor = self._examiner.fileno()
        try:
            verdict = self._examiner.verdict(wait_s)
        except ExaminerLost as error:
            if error.was_killed:
                raise
            # Its memory is used up, or an answer was too much for the interpreter. A new try would be a second chance.
            verdict = {"aborted": GARBAGE}
            if self._poll is not None:
                self._poll.unregister(descriptor)
        if verdict is not None:
            self.verdict = verdict
            self._is_used_up |= "memory" in verdict

    def cpu_s(self) -> float:
        """Return the examiner's CPU seconds for the current test. 0 if there is none."""
        return self._examiner.cpu_s() if self._examiner is not None and self._examiner.is_busy else 0.0

    def waited_s(self) -> float:
        """Return the seconds in which the machine was too busy to run the examiner."""
        return 0.0 if self._examiner is None else self._examiner.waited_s()

    def finish(self, wait_s: float) -> None:
        """Finish the examination after the child has ended. Kill the examiner if it does not finish in time."""
        if self._examiner is None:
            return
        if self._examiner.is_busy:
            self.receive_verdict(wait_s)
        if self._examiner.is_busy or self._is_used_up:
            self._examiner.kill()

    def stop(self, poll: select.poll) -> None:
        """Kill an examiner that does not finish."""
        if self._examiner is not None and self._examiner.is_busy:
            poll.unregister(self._examiner)
            self._examiner.kill()
            self._poll = None

    # Events that wake the server

    def watch_for_end(self, poll: select.poll) -> None:
        """Wake the server when the examiner ends."""
        if self._examiner is not None:
            poll.register(self._examiner, 0)
            self._poll = poll

    def watch_for_verdict(self, poll: select.poll) -> None:
        """Wake the server when the examiner has a verdict."""
        if self._examiner is not None and self._examiner.is_busy:
            poll.modify(self._examiner, select.POLLIN)

    def is_descriptor(self, descriptor: int) -> bool:
        """Return whether a descriptor is the examiner's."""
        return self._examiner is not None and descriptor == self._examiner.fileno()


def _confine(hardening: Hardening) -> None:
    hardening.enter_child(
        folder="",
        memory_limit_bytes=_MEMORY_BYTES,
        cpu_limit_s=MAX_CPU_S,
        file_limit_bytes=2**20,
        open_files=64,
    )


def _waited_seconds(pid: int) -> float:
    """Return the seconds in which a process of one thread was ready but did not run. 0 if the kernel does not know."""
    try:
        with open(f"/proc/{pid}/schedstat") as account:
            return int(account.read().split()[1]) / 1e9
    except (OSError, ValueError, IndexError):
        return 0.0


def _closed(descriptors: tuple[int, ...]) -> tuple[int, ...]:
    for descriptor in descriptors:
        os.close(descriptor)
    return ()
