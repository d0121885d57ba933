"""
Layers of isolation: one class each, and the order in which they are put on.

To add a layer, write its class, put it into `LAYERS` at the end of this file, and add its row to docs/sandbox.md. If a
system call could undo the layer, the filter in seccomp.py must deny it. Of `prctl`, it allows `_PRCTL_ALLOWED` alone.
"""

from __future__ import annotations

import errno
import os
import resource
import signal
import sys

# That of `signal` looks for a member of an enumeration, and fails.
from _signal import getsignal  # type: ignore[import-not-found]
from abc import ABC, abstractmethod
from collections.abc import Collection, Sequence
from contextlib import suppress
from typing import ClassVar

from stepcoder_trl.executor.server.hardening.landlock import Ruleset
from stepcoder_trl.executor.server.hardening.libc import (
    AF_UNIX,
    PR_SET_CHILD_SUBREAPER,
    PR_SET_DUMPABLE,
    PR_SET_NO_NEW_PRIVS,
    PR_SET_PDEATHSIG,
    SOCK_STREAM,
    drop_capabilities,
    prctl,
    share_one_heap,
    syscall,
)
from stepcoder_trl.executor.server.hardening.seccomp import Filter
from stepcoder_trl.executor.server.hardening.syscalls import this_architecture
from stepcoder_trl.executor.server.hardening.threads import ThreadLimit, cut_stacks_at, fit_stacks


_setrlimit = resource.setrlimit
# Signal of the soft time limit: no ordinary program uses it.
SOFT_SIGNAL: int = signal.SIGRTMAX - 1 if sys.platform == "linux" else signal.SIGXCPU

_PENDING_SIGNALS = 256
_SIGKILL = int(signal.SIGKILL)  # a member of an enumeration costs a child copied pages
_FIX_FOR_PRCTL = (
    "use Linux 3.5 or newer, in a container whose seccomp profile lets prctl through, as Docker's default does"
)

# Limits of a child: folder that it may change ("" for none), bytes of address space on top of the forking process's,
# CPU seconds, bytes of any file, highest descriptor plus one. A plain tuple costs a child fewer pages than an object
# with names.
Limits = tuple[str, int, float, int, int]

_TRIAL_LIMITS: Limits = ("", 2**30, 10, 2**20, 64)


class Layer:
    """
    Layer of isolation. An instance is a layer that the calling process, a fork server, has prepared.

    Each program may write to its own folder below `base`, and read the folders and files `readable`. Creation raises
    OSError if this system lacks the layer.
    """

    name: ClassVar[str]  # in logs, errors and docs/sandbox.md
    stops: ClassVar[str]  # what programs could do without it
    fix: ClassVar[str]  # how to get it where it is missing
    portable: ClassVar[bool] = False  # whether every POSIX system has it, so that `isolation="none"` keeps it

    def __init__(self, base: str, readable: Sequence[str]) -> None:
        """Prepare the layer in the fork server."""

    def adapt(self, in_force: Collection[str]) -> None:
        """Adapt to the layers that a trial child found in force."""

    def become_forker(self) -> None:
        """Go on in the calling process, a fork of the one that has prepared the layer: it will fork the children."""


class ChildLayer(Layer, ABC):
    """Layer that every child puts on itself, and that a trial child has tried."""

    @abstractmethod
    def put_on(self, limits: Limits) -> None:
        """Confine the calling process, a freshly forked child. Raise OSError if that fails."""

    def try_out(self) -> bool:
        """Put the layer on the calling process, a trial child, and return whether it is in force."""
        try:
            self.put_on(_TRIAL_LIMITS)
        except OSError:
            return False
        return True


class ResourceLimits(ChildLayer):
    """Memory, CPU time, size of files, number of descriptors and threads."""

    name = "rlimits"
    stops = "memory bombs, endless use of the CPU, full disks, thousands of threads"
    fix = "mount /proc, and lift limits of your own that are lower than what programs are given"
    portable = True

    def __init__(self, base: str, readable: Sequence[str]) -> None:
        # A heap per thread would reserve 64 MiB of address space each: a dozen threads would use up a program's limit.
        share_one_heap()
        fit_stacks()
        self._page_bytes = resource.getpagesize()
        kinds = [resource.RLIMIT_CPU, resource.RLIMIT_FSIZE, resource.RLIMIT_NOFILE, resource.RLIMIT_CORE]
        if sys.platform == "linux":
            kinds += [resource.RLIMIT_AS, resource.RLIMIT_NPROC, resource.RLIMIT_SIGPENDING]
        self._ceilings = {kind: resource.getrlimit(kind)[1] for kind in kinds}
        self._statm_fd = _own_memory()
        self._threads = ThreadLimit() if sys.platform == "linux" else None

    def become_forker(self) -> None:
        if self._statm_fd is not None:
            os.close(self._statm_fd)
        self._statm_fd = _own_memory()

    def put_on(self, limits: Limits) -> None:
        _, memory_bytes, cpu_s, file_bytes, open_files = limits
        set_limit = self._set_limit
        if self._statm_fd is not None:
            pages = int(os.pread(self._statm_fd, 64, 0).split()[0])
            os.close(self._statm_fd)
            set_limit(resource.RLIMIT_AS, pages * self._page_bytes + memory_bytes)
        cut_stacks_at(memory_bytes // 4)
        threads = None if self._threads is None else self._threads.limit()
        if threads is not None:
            set_limit(resource.RLIMIT_NPROC, threads)
        whole_cpu_s = -int(-cpu_s // 1)
        set_limit(resource.RLIMIT_CPU, whole_cpu_s, whole_cpu_s + 1)
        set_limit(resource.RLIMIT_FSIZE, file_bytes)
        set_limit(resource.RLIMIT_NOFILE, open_files)
        # No file. A crash does not start a program that the system may have for that, as it would at 0.
        set_limit(resource.RLIMIT_CORE, 1)
        if sys.platform == "linux":
            # The queue of pending signals is shared by all processes of a user.
            set_limit(resource.RLIMIT_SIGPENDING, _PENDING_SIGNALS)

    def _set_limit(self, kind: int, soft: int, hard: int | None = None) -> None:
        """Set a limit, never above the hard limit that the process had when it prepared the layer."""
        wanted, ceiling = soft if hard is None else hard, self._ceilings[kind]
        if ceiling != resource.RLIM_INFINITY:
            wanted = min(wanted, ceiling)
        _setrlimit(kind, (min(soft, wanted), wanted))

    def try_out(self) -> bool:
        with suppress(OSError, ValueError):
            self.put_on(_TRIAL_LIMITS)
        cpu_s, core = (resource.getrlimit(kind)[0] for kind in (resource.RLIMIT_CPU, resource.RLIMIT_CORE))
        return cpu_s == 10 and core in (0, 1)


class Session(ChildLayer):
    """Session and process group of the child's own, so that all of it can be killed."""

    name = "session"
    stops = "processes that stay behind in the background"
    fix = "use Linux"
    portable = True

    def put_on(self, limits: Limits) -> None:
        os.setsid()

    def try_out(self) -> bool:
        with suppress(OSError):
            os.setsid()
        return os.getsid(0) == os.getpid()


class DeathSignal(ChildLayer):
    """The kernel kills the child when the process that forked it dies, and that one when the server dies."""

    name = "death_signal"
    stops = "programs that outlive the fork server"
    fix = _FIX_FOR_PRCTL

    def __init__(self, base: str, readable: Sequence[str]) -> None:
        self._parent_pid = os.getpid()

    def put_on(self, limits: Limits) -> None:
        prctl(PR_SET_PDEATHSIG, _SIGKILL)
        if os.getppid() != self._parent_pid:
            os._exit(1)  # it died before the line above

    def become_forker(self) -> None:
        self.put_on(_TRIAL_LIMITS)
        self._parent_pid = os.getpid()


class Subreaper(Layer):
    """The process that forks inherits the processes that a child leaves behind, and can kill them."""

    name = "subreaper"
    stops = "daemons that leave their process group"
    fix = _FIX_FOR_PRCTL

    def __init__(self, base: str, readable: Sequence[str]) -> None:
        self.become_forker()

    def become_forker(self) -> None:
        prctl(PR_SET_CHILD_SUBREAPER, 1)  # a fork does not inherit it


class NoNewPrivileges(Layer):
    """Executing a file gives no privileges."""

    name = "no_new_privs"
    stops = "gaining privileges through setuid files"
    fix = _FIX_FOR_PRCTL

    def __init__(self, base: str, readable: Sequence[str]) -> None:
        prctl(PR_SET_NO_NEW_PRIVS, 1)


class Landlock(ChildLayer):
    """Programs read the interpreter's files and their own folder, and write to the latter."""

    name = "landlock"
    stops = "reading and changing files outside the program's own folder"
    fix = (
        "use Linux 5.13 or newer with `landlock` among /sys/kernel/security/lsm (kernel parameter `lsm=`), in "
        "a container whose seccomp profile knows its calls (Docker 23 or newer)"
    )

    def __init__(self, base: str, readable: Sequence[str]) -> None:
        self._ruleset = Ruleset(base, readable)

    def put_on(self, limits: Limits) -> None:
        self._ruleset.restrict_self(limits[0])
        # The server may read how much the child writes. No program can open the child's files in /proc.
        prctl(PR_SET_DUMPABLE, 1)

    def try_out(self) -> bool:
        try:
            self.put_on(_TRIAL_LIMITS)
            os.listdir("/")
        except OSError as error:
            return error.errno == errno.EACCES
        return False


class Capabilities(Layer):
    """No capabilities, not even for root."""

    name = "capabilities"
    stops = "the powers of root: mounting, raising limits, reading other users' processes"
    fix = "use a container whose seccomp profile lets capset through, as Docker's default does"

    def __init__(self, base: str, readable: Sequence[str]) -> None:
        drop_capabilities()


class NotDumpable(Layer):
    """No process of the same user can trace the server or open its memory."""

    name = "not_dumpable"
    stops = "tracing the fork server and reading its memory"
    fix = _FIX_FOR_PRCTL

    def __init__(self, base: str, readable: Sequence[str]) -> None:
        prctl(PR_SET_DUMPABLE, 0)


class Seccomp(ChildLayer):
    """No new processes, sockets, signals to others, tracing or mounts. Limits stay as they are."""

    name = "seccomp"
    stops = "starting processes, network access, signals to other processes, tracing, raised limits"
    fix = (
        "use Linux 3.17 or newer on x86-64 or aarch64, in a container that lets prctl and seccomp through; "
        "under gVisor its own kernel takes this part"
    )

    def __init__(self, base: str, readable: Sequence[str]) -> None:
        self._filter = Filter(this_architecture(), guard_files=False)

    def adapt(self, in_force: Collection[str]) -> None:
        if Landlock.name not in in_force:
            self._filter = Filter(this_architecture(), guard_files=True)

    def put_on(self, limits: Limits) -> None:
        has_handler = callable(getsignal(SOFT_SIGNAL))
        self._filter.put_on(guarded_signal=SOFT_SIGNAL if has_handler else 0)

    def try_out(self) -> bool:
        if not super().try_out():
            return False
        try:
            syscall(this_architecture().numbers["socket"], AF_UNIX, SOCK_STREAM, 0)
        except OSError as error:
            return error.errno == errno.EPERM
        return False


def _own_memory() -> int | None:
    """
    Open the account of this process's memory, which children will read: they are as large in the beginning.

    `None` on systems that do not say how much address space there is: memory is not limited there.
    """
    return os.open("/proc/self/statm", os.O_RDONLY | os.O_CLOEXEC) if sys.platform == "linux" else None


# The server prepares the layers in this order, and a child puts them on in this order.
# - Landlock and seccomp need no_new_privs.
# - Landlock comes before capabilities: only root may be able to open the folders that its rules name.
# - seccomp is last: its filter denies the calls that put the other layers on.
LAYERS: tuple[type[Layer], ...] = (
    ResourceLimits,
    Session,
    DeathSignal,
    Subreaper,
    NoNewPrivileges,
    Landlock,
    Capabilities,
    NotDumpable,
    Seccomp,
)
