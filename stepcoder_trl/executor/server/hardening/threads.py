"""Stacks of threads that fit into the memory limit, and a limit of their number that leaves room for neighbours."""

from __future__ import annotations

import _thread
import contextlib
import os
import resource
import threading

from stepcoder_trl.executor.server.hardening.libc import shrink_default_stack


STACK_BYTES = 2 * 2**20  # of a thread whose program asks for no size
MAX_THREADS = 512  # of one program, where the system counts them
_MAX_UNCOUNTED = 2048  # of one program of root, and where a container has few processes left
_MIN_UNCOUNTED = 128
_RESERVE = 64  # processes that stay free for neighbours where a user has few
_MAX_PROCESSES = 2**22  # the kernel has no more

_set_size = _thread.stack_size
_largest = 2**62  # bytes
_asked = 0


def fit_stacks() -> None:
    """
    Let threads have stacks that fit into a program's memory, of which they count in full, also where untouched.

    A hundred threads with the usual 8 MiB would not fit. A stack that a program asks for is cut at `cut_stacks_at`.
    That of a thread that was joined still counts for a moment, so more than one must fit.
    """
    shrink_default_stack(STACK_BYTES)
    threading.stack_size = _thread.stack_size = stack_size


def cut_stacks_at(size: int) -> None:
    """Cut stacks of new threads at this number of bytes. The program still sees the size that it asked for."""
    global _largest
    _largest = size


def stack_size(size: int = 0, /) -> int:
    """Set the size of the stacks of new threads, and return the one before."""
    global _asked
    _set_size(min(size, _largest))
    before, _asked = _asked, size
    return before


class ThreadLimit:
    """
    Highest number of processes and threads of this user that a program may reach.

    It is counted once in the server. Afterwards the growth is that of all threads of the machine: the kernel shows
    this number in one file, but that of one user only by a walk through all processes, which takes milliseconds for
    each child. Threads of other users that start make the limit higher than it needs to be. It is too low only if this
    user starts hundreds while others end as many. Where the kernel does not count, for root, there is no limit.
    """

    def __init__(self) -> None:
        soft, hard = resource.getrlimit(resource.RLIMIT_NPROC)
        self._load_fd = os.open("/proc/loadavg", os.O_RDONLY | os.O_CLOEXEC)
        most = _MAX_PROCESSES if hard == resource.RLIM_INFINITY else hard
        self._counted = 0 if _is_root_of_machine() else _count_in_fork(most)
        allowed = _MAX_PROCESSES if soft == resource.RLIM_INFINITY else soft
        self._allowed = min(allowed, self._counted + _left_in_container())
        self._of_machine = self._all_threads()

    def limit(self) -> int | None:
        """Return the limit for a child at this moment. Call it once, in the child. `None`: there is none."""
        now = self._all_threads() if self._counted else 0
        os.close(self._load_fd)
        return limit_for(self._counted, now - self._of_machine, self._allowed)

    def _all_threads(self) -> int:
        """Return the number of threads of the whole machine."""
        return int(os.pread(self._load_fd, 128, 0).split()[3].partition(b"/")[2])


def limit_for(counted: int, growth: int, allowed: int) -> int | None:
    """
    Return the limit for a program of a user who had `counted` threads in the server (0: they are not counted).

    `growth` is that of the machine's threads since. `allowed` is what the user may have at all: a part stays free.
    """
    if not counted:
        return None
    return min(counted + max(growth, 0) + MAX_THREADS, allowed - min(_RESERVE, allowed // 4))


def most_threads() -> int:
    """Return the number of threads above which a program is ended. The system does not count those of root."""
    return min(_MAX_UNCOUNTED, max(_left_in_container() // 2, _MIN_UNCOUNTED))


def _left_in_container() -> int:
    """Return the number of processes that the container's limit leaves, or the kernel's where there is none."""
    try:
        with open("/sys/fs/cgroup/pids.max") as most, open("/sys/fs/cgroup/pids.current") as current:
            return int(most.read()) - int(current.read())
    except (OSError, ValueError):  # not version 2 of control groups, or "max"
        return _MAX_PROCESSES


def _is_root_of_machine() -> bool:
    """Return whether this is root, and not just the root of a user namespace."""
    try:
        with open("/proc/self/uid_map") as ranges:
            return os.getuid() == 0 and ranges.read().split()[:2] == ["0", "0"]
    except FileNotFoundError:  # a kernel without user namespaces
        return os.getuid() == 0


def _count_in_fork(most: int) -> int:
    """Return the number of processes and threads of this user, at most `most`. 0 if the kernel does not count them."""
    report, report_end = os.pipe()
    try:
        pid = os.fork()
    except OSError:  # there are as many as can be
        os.close(report_end)
        os.close(report)
        return most
    if pid == 0:
        with contextlib.suppress(OSError, ValueError):
            os.write(report_end, str(_count(most)).encode())
        os._exit(0)
    os.close(report_end)
    with open(report) as stream:
        text = stream.read()
    os.waitpid(pid, 0)
    return int(text or 0)


def _count(most: int) -> int:
    """Return the number of processes and threads of this user, by the lowest limit under which one more starts."""
    if _one_more_starts(1):
        return 0
    low, high = 1, most
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if _one_more_starts(middle) else (middle, high)
    return low


def _one_more_starts(limit: int) -> bool:
    _, hard = resource.getrlimit(resource.RLIMIT_NPROC)
    resource.setrlimit(resource.RLIMIT_NPROC, (limit, hard))
    ended = _thread.allocate_lock()
    ended.acquire()
    try:
        _thread.start_new_thread(ended.release, ())
    except RuntimeError:
        return False
    ended.acquire()
    return True
