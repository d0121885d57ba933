"""State of the fork server: what it prepares once for all children, and its connection to the caller."""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import sys
from typing import Any

from stepcoder_trl.executor.child import run as child
from stepcoder_trl.executor.child.state import ModuleStates
from stepcoder_trl.executor.child.tracer import line_tracer
from stepcoder_trl.executor.server.examination import Examination, Examiner
from stepcoder_trl.executor.server.hardening.confine import prepare
from stepcoder_trl.executor.wire import scratch
from stepcoder_trl.executor.wire.frames import frame, read_frame, write_all
from stepcoder_trl.executor.wire.messages import JobAnswer, Settings, StartMessage
from stepcoder_trl.executor.wire.progress import Progress
from stepcoder_trl.executor.wire.system import PortableSystem, System


class ForkServer:
    """
    Everything that children inherit, the examiner, and the pipes to the caller.

    Create it in a fresh interpreter with one thread, after the modules that programs import are loaded. Creation
    raises OSError or IsolationUnavailable if a layer of isolation cannot be prepared.
    """

    def __init__(self, settings: Settings, requests: int, replies: int, checks: int | None) -> None:
        self.scratch = settings["scratch"]
        self.filename = os.path.join(self.scratch, "solution.py")  # programs are compiled under this path
        self.requests = os.fdopen(requests, "rb", buffering=2**20)
        self.system = PortableSystem() if settings["portable"] else System()
        self._replies = replies
        self._checks = checks
        self._examiner: Examiner | None = None
        os.chdir(self.scratch)
        sys.path.insert(0, self.scratch)
        sys.argv = [self.filename]
        self.tracer = line_tracer(self.filename)
        self.hardening = prepare(
            base=self.scratch,
            readable=_readable_paths(),
            isolation=settings["isolation"],
            portable=settings["portable"],
        )
        self.modules = ModuleStates()  # before any program runs
        self.progress = Progress()
        child.rehearse(self.tracer, self.modules, self.progress)
        gc.collect()
        gc.freeze()

    def send(self, message: StartMessage | JobAnswer) -> None:
        """Send a message to the caller. Raise BrokenPipeError if the caller has ended."""
        write_all(self._replies, frame(message))

    def receive(self) -> Any:
        """Wait for a message of the caller. Raise EOFError if the caller has ended."""
        return read_frame(self.requests)

    def new_examination(self, checks_bytes: int, max_answer_bytes: int) -> Examination:
        """Return the examination of a new child. Start the examiner if there are checks and it does not run."""
        if checks_bytes and (self._examiner is None or not self._examiner.pid):
            assert self._checks is not None
            close = self._replies, self.requests.fileno()
            self._examiner = Examiner(self._checks, self.scratch, self.hardening, close)
        return Examination(self._examiner if checks_bytes else None, checks_bytes, max_answer_bytes)

    def close_in_child(self) -> None:
        """Close the descriptors that a program must not have."""
        os.close(self._replies)
        os.close(self.requests.fileno())
        if self._checks is not None:
            os.close(self._checks)
        if self._examiner is not None:
            self._examiner.close()

    def reap(self, pid: int) -> tuple[int, float]:
        """Kill a child and every process that it started. Return the child's wait status and CPU seconds."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(pid, signal.SIGKILL)
        send_signal(pid, signal.SIGKILL)
        _, status, usage = os.wait4(pid, 0)
        self._reap_descendants()
        return status, usage.ru_utime + usage.ru_stime

    def _reap_descendants(self) -> None:
        spared = None if self._examiner is None else self._examiner.pid
        while True:
            try:
                found, _ = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if found == 0:  # adopted from the child, in a session of its own
                descendants = [pid for pid in self.system.children() if pid != spared]
                if not descendants:
                    return
                for pid in descendants:
                    send_signal(pid, signal.SIGKILL)
                    with contextlib.suppress(ChildProcessError):
                        os.waitpid(pid, 0)

    def leave(self) -> None:
        """Kill the examiner and remove the scratch folder. A caller that was killed cannot remove it."""
        if self._examiner is not None:
            self._examiner.kill()
        os.chdir("/")
        scratch.remove(self.scratch)


def send_signal(pid: int, number: int) -> None:
    """Send a signal to a process, if it still exists."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def _readable_paths() -> list[str]:
    """Return the folders and files of the interpreter and its libraries."""
    paths = {sys.prefix, sys.base_prefix, sys.exec_prefix, os.path.dirname(os.path.realpath(sys.executable))}
    paths.update(path for path in sys.path if os.path.isabs(path))
    return sorted(path for path in paths if os.path.exists(path))
