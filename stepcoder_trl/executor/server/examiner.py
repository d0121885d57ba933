"""Handle of the fork server for its examiner."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
from collections.abc import Callable, Sequence

from stepcoder_trl.executor.examiner.process import serve
from stepcoder_trl.executor.wire.messages import ExaminationRequest, Verdict
from stepcoder_trl.executor.wire.system import System


MEMORY_BYTES = 2**30  # 32 MiB of JSON become up to 640 MiB of Python objects
_VERDICT_BYTES = 2**16


class ExaminerLost(Exception):
    """Raised if the examiner died, but not by a limit."""


class Examiner:
    """
    Handle of the fork server for its examiner.

    Args:
        checks_fd (`int`): Descriptor of the file with the current program's checks. The caller's process writes it.
        scratch (`str`): Folder that programs write to. It is removed from the import path.
        confine (`Callable`): Applies the isolation layers to the calling process.
        close (`Sequence[int]`): Descriptors that the examiner must close.
    """

    def __init__(self, checks_fd: int, scratch: str, confine: Callable[[], None], close: Sequence[int]) -> None:
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.pid = os.fork()
        if self.pid == 0:
            try:
                self._socket.close()
                for descriptor in close:
                    os.close(descriptor)
                serve(theirs, checks_fd, scratch, confine)
            finally:
                os._exit(1)
        theirs.close()
        self.busy = False
        self._cpu_start = 0.0
        self._waited_start = 0.0

    def fileno(self) -> int:
        """Return the descriptor that becomes readable when there is a verdict."""
        return self._socket.fileno()

    def begin(self, request: ExaminationRequest, ends: Sequence[int]) -> None:
        """
        Start the examination of one test.

        Args:
            request (`ExaminationRequest`): The test.
            ends (`Sequence[int]`): Pipes to and from a new process of the program. Empty if the process is the same.

        Raises:
            ExaminerLost: If the examiner died.
        """
        self._cpu_start = self._cpu_seconds()
        if ends:
            self._waited_start = _waited_seconds(self.pid)
        try:
            socket.send_fds(self._socket, [json.dumps(request).encode("ascii")], ends)
        except OSError as error:
            raise ExaminerLost(str(error)) from None
        self.busy = True

    def verdict(self, wait_s: float = 0.0) -> Verdict | None:
        """
        Receive the examiner's verdict. `None` if it has not finished.

        Raises:
            ExaminerLost: If the examiner died.
        """
        self._socket.settimeout(wait_s)
        try:
            data = self._socket.recv(_VERDICT_BYTES)
        except (BlockingIOError, TimeoutError):
            return None
        except OSError as error:
            raise ExaminerLost(str(error)) from None
        finally:
            self._socket.settimeout(None)
        if not data:
            raise ExaminerLost("the examiner ended")
        self.busy = False
        verdict: Verdict = json.loads(data)
        return verdict

    def cpu_s(self) -> float:
        """Return the CPU seconds since `begin`."""
        return self._cpu_seconds() - self._cpu_start

    def _cpu_seconds(self) -> float:
        return System().cpu_s(self.pid, 0.0)

    def waited_s(self) -> float:
        """Return the seconds in which the machine was too busy to run the examiner for the current program."""
        return max(_waited_seconds(self.pid) - self._waited_start, 0.0)

    def close(self) -> None:
        """Close the descriptor in the program's process, which must not have it."""
        self._socket.close()

    def kill(self) -> None:
        """Kill the examiner."""
        self._socket.close()
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(self.pid, 0)


def _waited_seconds(pid: int) -> float:
    """Return the seconds in which a process of one thread was ready but did not run. 0 if the kernel does not know."""
    try:
        with open(f"/proc/{pid}/schedstat") as account:
            return int(account.read().split()[1]) / 1e9
    except (OSError, ValueError, IndexError):
        return 0.0
