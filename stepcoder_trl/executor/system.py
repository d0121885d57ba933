"""
What the fork server needs of the operating system, in Linux's way and in one that every POSIX system has.

Elsewhere than on Linux every program gets a fork server of its own: nothing there keeps a program from harming the
server, so that none may serve a second one. Limits in CPU time count wall time there until a process has ended.
"""

from __future__ import annotations

import os
import select
import sys
import tempfile
import time

from stepcoder_trl.executor.protocol import write_all


class System:
    """Linux: files in memory, the CPU clock of another process, a descriptor for its end."""

    exit_event = select.POLLIN

    def memory_file(self, name: str, text: str = "") -> int:
        """Descriptor of a nameless file, at its beginning."""
        return _filled(os.memfd_create(name, os.MFD_CLOEXEC), text)

    def cpu_s(self, pid: int, started: float) -> float:
        """CPU seconds of a running process that was started at this monotonic time."""
        try:
            return time.clock_gettime((~pid << 3) | 2)  # what clock_getcpuclockid(3) computes
        except OSError:
            return 0.0

    def cpu_then(self, cpu_s: float, wall_s: float, started: float) -> float:
        """What `cpu_s` would have said at a moment that the process noted by both clocks."""
        return cpu_s

    def exit_descriptor(self, pid: int, reports: int) -> int:
        """Descriptor that has `exit_event`, or is hung up, when a child has ended; `reports` is its report pipe."""
        return os.pidfd_open(pid)

    def children(self) -> list[int]:
        """Children of this process, adopted ones included."""
        with open(f"/proc/self/task/{os.getpid()}/children") as listing:
            return [int(pid) for pid in listing.read().split()]


class PortableSystem(System):
    """Any POSIX system."""

    exit_event = 0  # only the hang-up counts: there may be reports to read

    def memory_file(self, name: str, text: str = "") -> int:
        """Descriptor of a file without a name."""
        with tempfile.TemporaryFile(dir=tempfile.gettempdir()) as file:
            return _filled(os.dup(file.fileno()), text)

    def cpu_s(self, pid: int, started: float) -> float:
        """Wall seconds: the clock of another process cannot be read."""
        return time.monotonic() - started

    def cpu_then(self, cpu_s: float, wall_s: float, started: float) -> float:
        """Wall seconds, too."""
        return wall_s - started

    def exit_descriptor(self, pid: int, reports: int) -> int:
        """The report pipe once more: it is hung up when nobody holds its other end."""
        return os.dup(reports)

    def children(self) -> list[int]:
        """None: processes that have left their group are the system's."""
        return []


def _filled(descriptor: int, text: str) -> int:
    write_all(descriptor, text.encode("utf-8", "surrogatepass"))
    os.lseek(descriptor, 0, os.SEEK_SET)
    return descriptor


def is_portable() -> bool:
    """Whether this is not Linux."""
    return sys.platform != "linux"


def num_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
