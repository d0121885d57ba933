"""Process trees, processes by their temporary folder, fork servers, and waiting with a deadline."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from stepcoder_trl.executor.selftest.leftovers import children_of_ours, descendants


ON_LINUX = pytest.mark.skipif(sys.platform != "linux", reason="the fork server is made for Linux")


def fork_servers() -> list[int]:
    """Return the fork servers of this process that have begun to run."""
    return [pid for pid in children_of_ours() if b"executor.server" in Path(f"/proc/{pid}/cmdline").read_bytes()]


def running_programs(pid: int | None = None) -> list[int]:
    """Return the processes below `pid`, or below this one, that run programs: each is in a folder of its own."""
    found = []
    for process in descendants(pid):
        with suppress(OSError):
            if "/stepcoder-" in os.readlink(f"/proc/{process}/cwd"):
                found.append(process)
    return found


def parent_of(pid: int) -> int | None:
    """Return the process id of the parent, or `None` for a process that has ended."""
    with suppress(FileNotFoundError, ProcessLookupError):
        return int(Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[1])
    return None


def kill(pid: int, number: int = signal.SIGKILL) -> None:
    """Send a signal to a process that may have ended."""
    with suppress(ProcessLookupError):
        os.kill(pid, number)


def with_temporary_folder(folder: Path) -> list[int]:
    """Return the processes with this `TMPDIR`: a script that was started with it, and its servers."""
    found = []
    for entry in Path("/proc").iterdir():
        with suppress(OSError):
            if entry.name.isdigit() and f"TMPDIR={folder}" in (entry / "environ").read_text(errors="replace"):
                found.append(int(entry.name))
    return found


def soon(condition: Callable[[], object], within_s: float = 30) -> bool:
    """Wait until a condition holds. Return `False` if it does not within the deadline."""
    deadline = time.monotonic() + within_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True
