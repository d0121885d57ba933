"""Measure how much the memory and the disk of this machine grow while programs run."""

from __future__ import annotations

import os
import tempfile
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from stepcoder_trl.executor.selftest.leftovers import children_of_ours, resident_bytes


_MIB = 2**20
_INTERVAL_S = 0.005


def _servers() -> int:
    """Return the resident memory of this process's children, the fork servers."""
    pages = 0
    for pid in children_of_ours():
        with suppress(FileNotFoundError, ProcessLookupError):  # it has ended
            pages += int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def _shared_memory() -> int:
    """Return the bytes of all memory files and other shared memory of the machine."""
    lines = Path("/proc/meminfo").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("Shmem:"))


def _disk() -> int:
    """Return the used bytes of the file system that holds the scratch folders."""
    usage = os.statvfs(tempfile.gettempdir())
    return (usage.f_blocks - usage.f_bfree) * usage.f_frsize


MEASURES: dict[str, Callable[[], int]] = {
    "trainer": resident_bytes,
    "servers": _servers,
    "shared_memory": _shared_memory,  # of the whole machine, as is the next
    "disk": _disk,
}


class Peaks:
    """Largest growth of some measures, by name in MiB, while the `with` block runs. A thread looks every 5 ms."""

    def __init__(self, names: dict[str, float]) -> None:
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._start = {name: MEASURES[name]() for name in names}
        self.mib = dict.fromkeys(names, 0.0)

    def __enter__(self) -> Peaks:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._done.wait(_INTERVAL_S):
            for name, start in self._start.items():
                self.mib[name] = max(self.mib[name], (MEASURES[name]() - start) / _MIB)
