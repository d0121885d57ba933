"""Find what programs leave behind on Linux: processes, files, shared memory, descriptors, memory."""

from __future__ import annotations

import ctypes
import gc
import os
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from stepcoder_trl.executor.wire.system import EXAMINER_NAME, FORKER_NAME


DEADLINE_S = 10.0
_SHARED_FOLDERS = ("/tmp", "/var/tmp", "/dev/shm", "/dev/mqueue")
_M_MMAP_THRESHOLD = -3  # of mallopt
_IPC_TABLES = ("/proc/sysvipc/shm", "/proc/sysvipc/sem", "/proc/sysvipc/msg")


class Census:
    """
    Census of processes, files and IPC objects, to find what the programs of a local executor leave behind.

    `scratch_root` is a folder that only this executor uses for its scratch folders. Without it, files in scratch
    folders and processes that have left the process tree are not found.
    """

    def __init__(self, scratch_root: Path | None = None) -> None:
        self._scratch_root = scratch_root
        self._shared_before = _shared_objects()

    def left_behind(self, workers: set[int]) -> list[str]:
        """
        Describe what the programs left behind for more than ten seconds. Call it while no program runs.

        `workers` are the fork servers that ran before the programs, from [`children_of_ours`].
        """
        deadline = time.monotonic() + DEADLINE_S
        while (found := list(self._look(workers))) and time.monotonic() < deadline:
            time.sleep(0.01)
        return found

    def _look(self, workers: set[int]) -> Iterator[str]:
        running = children_of_ours()
        yield from (f"fork server {pid} has ended" for pid in sorted(workers - running))
        strays = set(descendants()) - running - _helpers(running)
        if self._scratch_root is not None:
            strays |= _processes_with(str(self._scratch_root)) - set(descendants()) - {os.getpid()}
            yield from (f"file {path}" for path in self._scratch_root.glob("*/*"))
        yield from (f"process {pid}" for pid in sorted(strays))
        yield from sorted(_shared_objects() - self._shared_before)


def children_of_ours() -> set[int]:
    """Return the process ids of this process's children."""
    return set(_children(os.getpid()))


def descendants(pid: int | None = None) -> list[int]:
    """Return the process ids of all descendants, zombies included."""
    found: list[int] = []
    for child in _children(pid or os.getpid()):
        found += [child, *descendants(child)]
    return sorted(found)


def _helpers(servers: set[int]) -> set[int]:
    """
    Return the processes that help the fork servers: examiners, forkers and the child of each that waits for its job.

    Where there are more of them than there can be, some are fakes, and none is returned.
    """
    by_name: dict[str, set[int]] = {EXAMINER_NAME: set(), FORKER_NAME: set()}
    for child in (child for server in servers for child in _children(server)):
        with suppress(FileNotFoundError, ProcessLookupError):  # the process has ended
            by_name.get(Path(f"/proc/{child}/comm").read_text().strip(), set()).add(child)
    waiting = {child for forker in by_name[FORKER_NAME] for child in _children(forker)}
    helpers = [*by_name.values(), waiting]
    return set().union(*helpers) if all(len(found) <= len(servers) for found in helpers) else set()


def _children(pid: int) -> Iterator[int]:
    listings: list[Path] = []
    with suppress(FileNotFoundError, ProcessLookupError):  # the process has ended
        listings = list(Path(f"/proc/{pid}/task").glob("*/children"))
    for listing in listings:
        with suppress(FileNotFoundError, ProcessLookupError):  # the thread has ended
            yield from map(int, listing.read_text().split())


def _processes_with(text: str) -> set[int]:
    """Return the processes that were started with this text in their environment, in or outside the process tree."""
    found = set()
    for path in Path("/proc").glob("[0-9]*/environ"):
        with suppress(OSError):  # it belongs to another user, or has ended
            if text.encode() in path.read_bytes():
                found.add(int(path.parent.name))
    return found


def _shared_objects() -> set[str]:
    """Describe planted files, and this user's System V shared memory, semaphores and queues."""
    found = set()
    for folder in (*_SHARED_FOLDERS, str(Path.home())):
        with suppress(OSError):
            found |= {f"file {path}" for path in Path(folder).glob("planted*")}
    for table in _IPC_TABLES:
        with suppress(OSError):
            header, *rows = (line.split() for line in Path(table).read_text().splitlines())
            identifier, owner = header[1], header.index("uid")
            found |= {f"{identifier} {row[1]}" for row in rows if row[owner] == str(os.getuid())}
    return found


def settled_bytes() -> int:
    """
    Return the resident memory of this process after its free memory was given back, where the C library can.

    From the first call on large blocks are mapped one by one. Otherwise glibc keeps some megabytes of free ones in the
    heap of each thread, which looks like growth.
    """
    gc.collect()
    with suppress(AttributeError, OSError):
        library = ctypes.CDLL(None)
        library.mallopt(_M_MMAP_THRESHOLD, 128 * 1024)
        library.malloc_trim(0)
    return resident_bytes()


def resident_bytes() -> int:
    """Return the resident memory of this process."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def num_descriptors() -> int:
    """Return the number of open descriptors of this process, sockets included."""
    return len(os.listdir("/proc/self/fd"))
