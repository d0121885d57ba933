"""
System calls of the fork server, for Linux and for any other POSIX system.

Outside Linux, nothing keeps a program from harming its fork server, so every program gets a new one. CPU limits count
wall time there until a process has ended.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator

from stepcoder_trl.executor.wire.frames import write_all


EXAMINER_NAME, FORKER_NAME = "examiner", "forker"  # names of processes
_PR_SET_NAME = 15


class System:
    """Linux: memory files, CPU clocks of other processes, process descriptors."""

    exit_event = select.POLLIN

    def memory_file(self, name: str, text: str = "") -> int:
        """Create a memory file with this text. Return a descriptor at its beginning."""
        return _filled(os.memfd_create(name, os.MFD_CLOEXEC), text)

    def cpu_s(self, pid: int, started: float) -> float:
        """Return the CPU seconds of a running process that was started at this monotonic time."""
        try:
            return time.clock_gettime((~pid << 3) | 2)  # what clock_getcpuclockid(3) computes
        except OSError:
            return 0.0

    def cpu_then(self, cpu_s: float, wall_s: float, started: float) -> float:
        """Return the value of `cpu_s` at a time that the child recorded by both clocks."""
        return cpu_s

    def written_bytes(self, pid: int) -> int:
        """Return the bytes that a process has written to files, memory files included. 0 if they are unknown."""
        try:
            with open(f"/proc/{pid}/io") as account:
                counts = dict(line.split(": ") for line in account)
            return max(int(counts["wchar"]), int(counts["write_bytes"]))
        except (OSError, ValueError, KeyError):
            return 0

    def nameless_bytes(self, pid: int, folder: str, max_file_bytes: int) -> int:
        """
        Return the bytes of files without a name that a process holds on the disk of a folder. 0 if unknown.

        The size of one that is mapped but not open cannot be read. It counts as `max_file_bytes`.
        """
        sizes: dict[int, int] = {}  # by inode
        try:
            disk = os.stat(folder).st_dev
            thread, maps = _living_thread(pid)
            for name in os.listdir(f"{thread}/fd"):
                with contextlib.suppress(FileNotFoundError):  # closed meanwhile
                    file = os.stat(f"{thread}/fd/{name}")
                    if file.st_nlink == 0 and file.st_dev == disk:
                        sizes[file.st_ino] = 512 * file.st_blocks
            for inode in _nameless_inodes(maps, disk):
                sizes.setdefault(inode, max_file_bytes)
        except OSError:
            return 0
        return sum(sizes.values())

    def num_threads(self, pid: int) -> int:
        """Return the number of threads of a process. 0 if it is unknown."""
        try:
            return os.stat(f"/proc/{pid}/task").st_nlink - 2
        except OSError:
            return 0

    def exit_descriptor(self, pid: int, reports: int) -> int:
        """Return a descriptor that gets `exit_event` or a hang-up when a child ends. `reports` is its report pipe."""
        return os.pidfd_open(pid)

    def children(self) -> list[int]:
        """Return the children of this process, adopted ones included."""
        with open(f"/proc/self/task/{os.getpid()}/children") as listing:
            return [int(pid) for pid in listing.read().split()]


class PortableSystem(System):
    """Any POSIX system."""

    exit_event = 0  # only a hang-up means the end: the pipe may also hold reports

    def memory_file(self, name: str, text: str = "") -> int:
        """Create a temporary file without a name. Return a descriptor at its beginning."""
        with tempfile.TemporaryFile(dir=tempfile.gettempdir()) as file:
            return _filled(os.dup(file.fileno()), text)

    def cpu_s(self, pid: int, started: float) -> float:
        """Return wall seconds: the CPU clock of another process cannot be read here."""
        return time.monotonic() - started

    def cpu_then(self, cpu_s: float, wall_s: float, started: float) -> float:
        """Return wall seconds, like `cpu_s`."""
        return wall_s - started

    def written_bytes(self, pid: int) -> int:
        """Return 0: the bytes are unknown."""
        return 0

    def nameless_bytes(self, pid: int, folder: str, max_file_bytes: int) -> int:
        """Return 0: the bytes are unknown."""
        return 0

    def num_threads(self, pid: int) -> int:
        """Return 0: the number is unknown."""
        return 0

    def exit_descriptor(self, pid: int, reports: int) -> int:
        """Return a copy of the report pipe, which is hung up when the child has ended."""
        return os.dup(reports)

    def children(self) -> list[int]:
        """Return nothing: the system adopts processes that leave their group."""
        return []


def _living_thread(pid: int) -> tuple[str, list[str]]:
    """
    Return the folder in `/proc` of a thread of a process, and the lines of its `maps`.

    Threads share memory and descriptors. A thread that has ended has neither, and the first one may end before others.
    """
    for thread in os.listdir(f"/proc/{pid}/task"):
        folder = f"/proc/{pid}/task/{thread}"
        with (
            contextlib.suppress(FileNotFoundError, ProcessLookupError),
            open(f"{folder}/maps", errors="replace") as maps,
        ):
            if lines := maps.readlines():
                return folder, lines
    raise ProcessLookupError(f"no thread of process {pid} runs")


def _nameless_inodes(maps: Iterable[str], disk: int) -> Iterator[int]:
    """Yield the inodes of files without a name on a disk that these lines of `/proc/PID/maps` tell of."""
    device = f"{os.major(disk):02x}:{os.minor(disk):02x}"
    for line in maps:
        _, _, _, file_device, inode, *path = line.split(maxsplit=5)
        if file_device == device and path and path[0].endswith("(deleted)\n"):
            yield int(inode)


def _filled(descriptor: int, text: str) -> int:
    write_all(descriptor, text.encode("utf-8", "surrogatepass"))
    os.lseek(descriptor, 0, os.SEEK_SET)
    return descriptor


def name_process(name: str) -> None:
    """Give the calling process a name, which listings of processes show. Linux only."""
    ctypes.CDLL(None).prctl(_PR_SET_NAME, name.encode(), 0, 0, 0)


def is_portable() -> bool:
    """Return whether this system is not Linux."""
    return sys.platform != "linux"


def num_cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
