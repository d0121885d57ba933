"""Seccomp filter: how each system call of a program is answered."""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Sequence

from stepcoder_trl.executor.server.hardening.libc import AF_UNIX, SOCK_STREAM, syscall
from stepcoder_trl.executor.server.hardening.syscalls import NEWEST_KNOWN, Architecture


DENIED = (
    # processes; threads are let through below
    *("fork", "vfork", "execve", "execveat", "setsid", "setpgid", "unshare", "setns", "personality", "uselib"),
    # other processes
    *("tkill", "pidfd_open", "pidfd_send_signal", "pidfd_getfd", "ptrace", "process_vm_readv", "process_vm_writev"),
    *("kcmp", "process_madvise", "process_mrelease", "perf_event_open", "migrate_pages", "move_pages"),
    *("sched_setparam", "sched_setscheduler", "sched_setattr", "ioprio_set", "get_robust_list"),
    # network; socketpair is let through below, for asyncio. Messages could hold descriptors, whose number in flight is
    # limited for all processes of a user together
    *("socket", "connect", "bind", "listen", "accept", "accept4", "sendmsg", "sendmmsg"),
    # what other processes have made, what outlives the process, what is counted by no limit or for the whole machine
    *("shmget", "shmat", "shmctl", "msgget", "msgsnd", "msgrcv", "msgctl", "semget", "semop", "semtimedop", "semctl"),
    *("mq_open", "mq_unlink", "mq_timedsend", "mq_timedreceive", "mq_notify", "mq_getsetattr"),
    *("memfd_create", "memfd_secret", "keyctl", "add_key", "request_key", "flock"),
    # what stays with memory that the fork server shares with all programs
    *("mbind", "set_mempolicy_home_node"),
    *("io_setup", "io_destroy", "io_submit", "io_cancel", "io_getevents", "io_pgetevents"),
    # timers that send any signal, also SIGKILL: setitimer and alarm remain
    "timer_create",
    # identity
    *("setuid", "setgid", "setreuid", "setregid", "setresuid", "setresgid", "setfsuid", "setfsgid", "setgroups"),
    "capset",
    # file systems, and what Landlock does not see
    *("mount", "umount2", "chroot", "pivot_root", "open_tree", "move_mount", "fsopen", "fsconfig", "fsmount"),
    *("fspick", "mount_setattr", "statmount", "listmount", "name_to_handle_at", "open_by_handle_at", "quotactl"),
    *("quotactl_fd", "fanotify_init", "fanotify_mark", "inotify_init", "inotify_init1", "inotify_add_watch"),
    *(
        "lookup_dcookie",
        "nfsservctl",
        "sysfs",
        "ustat",
        "acct",
        "swapon",
        "swapoff",
        "chown",
        "fchown",
        "lchown",
        "fchownat",
    ),
    # the machine, and doors to the kernel that no program here needs
    *("reboot", "kexec_load", "kexec_file_load", "init_module", "finit_module", "delete_module", "sethostname"),
    *("setdomainname", "settimeofday", "clock_settime", "clock_adjtime", "adjtimex", "syslog", "vhangup", "iopl"),
    *("ioperm", "modify_ldt", "remap_file_pages", "_sysctl", "bpf", "userfaultfd", "io_uring_setup", "io_uring_enter"),
    *("io_uring_register", "uretprobe", "uprobe", "seccomp", "landlock_create_ruleset", "landlock_add_rule"),
    *("landlock_restrict_self", "lsm_get_self_attr", "lsm_set_self_attr", "lsm_list_modules"),
)
# Succeed without effect: correct programs call them, or library functions such as `shutil.copy` do. Nothing that a
# program writes must survive a loss of power.
IGNORED = (
    *("setrlimit", "setpriority", "sched_setaffinity", "sync", "syncfs", "fsync", "fdatasync", "sync_file_range"),
    *("chmod", "fchmod", "fchmodat", "fchmodat2", "utime", "utimes", "utimensat", "futimesat"),
)
# As on file systems that lack them. Landlock does not guard attributes of files. In place of `fallocate`, which takes
# disk without writing, the C library writes.
UNSUPPORTED = (
    *("setxattr", "lsetxattr", "fsetxattr", "removexattr", "lremovexattr", "fremovexattr", "fallocate"),
    *("getxattr", "lgetxattr", "fgetxattr", "listxattr", "llistxattr", "flistxattr"),
)
ABSENT = ("clone3", "openat2")  # the C library falls back to calls whose arguments a filter can see
# Denied where Landlock does not guard the files.
FILE_CHANGES = (
    *("creat", "truncate", "unlink", "unlinkat", "rmdir", "rename", "renameat", "renameat2", "mkdir", "mkdirat"),
    *("mknod", "mknodat", "symlink", "symlinkat", "link", "linkat"),
)

# prctl: reading, thread names, timer slack, huge pages, no_new_privs, names of memory areas.
_PRCTL_ALLOWED = (2, 3, 15, 16, 21, 23, 29, 30, 38, 39, 41, 42, 0x53564D41)
# ioctl: TCGETS and TIOCGWINSZ (is it a terminal?), FIONREAD, FIONBIO, FIONCLEX, FIOCLEX.
_IOCTL_ALLOWED = (0x5401, 0x5413, 0x541B, 0x5421, 0x5450, 0x5451)
# fcntl: F_SETOWN, F_SETSIG, F_SETOWN_EX have the kernel send any signal to any process; F_OFD_SETLK and F_OFD_SETLKW
# lock files that others use; F_SETLEASE and F_NOTIFY watch files; F_SETPIPE_SZ takes pages that are limited for all
# processes of a user together; F_SET_RW_HINT and F_SET_FILE_RW_HINT stay with files that others use.
_FCNTL_DENIED = (8, 10, 15, 37, 38, 1024, 1026, 1031, 1036, 1038)
# fcntl: F_SETLK, F_SETLKW. Such locks never hold up the process that has them, so it cannot tell that there are none.
_FCNTL_IGNORED = (6, 7)
# setsockopt: SO_ATTACH_FILTER, SO_ATTACH_BPF, SO_ATTACH_REUSEPORT_CBPF and _EBPF run programs in the kernel.
_SOCKET_OPTIONS_DENIED = (26, 50, 51, 52)
# setsockopt: SO_SNDBUF, SO_RCVBUF and their _FORCE take memory of the kernel, which no limit of a process counts.
_SOCKET_OPTIONS_IGNORED = (7, 8, 32, 33)
_CLONE_FILES = 0x00000400
_CLONE_THREAD = 0x00010000
_CLONE_NEW = 0x7E020000  # every namespace
_CLOSE_RANGE_UNSHARE = 1 << 1
_MAP_HUGETLB = 0x40000
_SOCK_TYPE_MASK = 0xF
_SIGKILL, _SIGSTOP = 9, 19
_SET_MODE_FILTER = 1
_SPEC_ALLOW = 4  # no brakes on speculation: the child holds no secret

Op = tuple[int, int, int, int]  # code, instructions skipped if true, skipped if false, operand

_LOAD, _AND, _RETURN, _SKIP = 0x20, 0x54, 0x06, 0x05
_EQUAL, _AT_LEAST, _ANY_BIT = 0x15, 0x35, 0x45
_OFFSET_NUMBER, _OFFSET_ARCH, _OFFSET_ARGUMENTS = 0, 4, 16  # in struct seccomp_data
_ALLOW: Op = (_RETURN, 0, 0, 0x7FFF0000)
_KILL: Op = (_RETURN, 0, 0, 0x80000000)
_MAY_WRITE = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
# Stand for the child's pid and for the signal whose handler stays, until a child fills them in.
PID_SLOT, SIGNAL_SLOT = 0xFFFFFFF0, 0xFFFFFFF1


def _fail(code: int) -> Op:
    return (_RETURN, 0, 0, 0x00050000 | code)


_DENY = _fail(errno.EPERM)


def _argument(index: int, *, high: bool = False) -> Op:
    """Load one half of an argument; both architectures are little-endian."""
    return (_LOAD, 0, 0, _OFFSET_ARGUMENTS + 8 * index + 4 * high)


def _choose(values: Sequence[int], found: Op, other: Op) -> list[Op]:
    """Give one answer if the loaded word is among the values, another if not."""
    count = len(values)
    return [*((_EQUAL, count - index, 0, value) for index, value in enumerate(values)), other, found]


def _ignoring(values: Sequence[int]) -> list[Op]:
    """Let the call succeed without effect if the loaded word is among the values."""
    return [op for value in values for op in ((_EQUAL, 0, 1, value), _fail(0))]


def _conditions(guard_files: bool) -> dict[str, list[Op]]:
    """Return the calls that are answered by their arguments."""
    # A program may signal itself: os.abort, signal.raise_signal, pthread_kill, os.kill(os.getpid(), ...). So SIGKILL
    # and SIGSTOP always come from outside.
    rules = {}
    for name, index in (("kill", 1), ("tgkill", 2), ("rt_sigqueueinfo", 1), ("rt_tgsigqueueinfo", 2)):
        to_itself = [_argument(0), (_EQUAL, 1, 0, PID_SLOT), _DENY]
        rules[name] = [*to_itself, _argument(index), *_choose((_SIGKILL, _SIGSTOP), _DENY, _ALLOW)]
    # Threads, but no processes and no namespaces. All threads have the same descriptors: their number is limited.
    thread = [_argument(0), (_AND, 0, 0, _CLONE_THREAD | _CLONE_FILES | _CLONE_NEW)]
    rules["clone"] = [*thread, *_choose((_CLONE_THREAD | _CLONE_FILES,), _ALLOW, _DENY)]
    rules["close_range"] = [_argument(2), (_ANY_BIT, 0, 1, _CLOSE_RANGE_UNSHARE), _DENY, _ALLOW]
    # A connected pair inside the process. Datagram sockets could still send to any address.
    pair = [_argument(0), (_EQUAL, 1, 0, AF_UNIX), _DENY, _argument(1), (_AND, 0, 0, _SOCK_TYPE_MASK)]
    rules["socketpair"] = [*pair, *_choose((SOCK_STREAM,), _ALLOW, _DENY)]
    # Limits can be read; setting them succeeds without effect.
    reads = [_argument(2), (_EQUAL, 0, 2, 0), _argument(2, high=True), (_EQUAL, 1, 0, 0)]
    rules["prlimit64"] = [*reads, _fail(0), _ALLOW]
    # The handler of the soft time limit stays.
    asks = [_argument(1), (_EQUAL, 0, 2, 0), _argument(1, high=True), (_EQUAL, 1, 0, 0)]
    rules["rt_sigaction"] = [_argument(0), (_EQUAL, 1, 0, SIGNAL_SLOT), _ALLOW, *asks, _DENY, _ALLOW]
    rules["prctl"] = [_argument(0), *_choose(_PRCTL_ALLOWED, _ALLOW, _DENY)]
    rules["ioctl"] = [_argument(1), *_choose(_IOCTL_ALLOWED, _ALLOW, _fail(errno.ENOTTY))]
    rules["fcntl"] = [_argument(1), *_ignoring(_FCNTL_IGNORED), *_choose(_FCNTL_DENIED, _DENY, _ALLOW)]
    # Huge pages are taken from a pool of the whole machine.
    rules["mmap"] = [_argument(3), (_ANY_BIT, 0, 1, _MAP_HUGETLB), _DENY, _ALLOW]
    options = [*_ignoring(_SOCKET_OPTIONS_IGNORED), *_choose(_SOCKET_OPTIONS_DENIED, _DENY, _ALLOW)]
    rules["setsockopt"] = [_argument(2), *options]
    for name, index in (("open", 1), ("openat", 2)):
        if guard_files:
            rules[name] = [_argument(index), (_ANY_BIT, 0, 1, _MAY_WRITE), _fail(errno.EACCES), _ALLOW]
        else:
            # Truncating a file that is opened for reading: Landlock sees it from its third version on.
            truncates = [_argument(index), (_AND, 0, 0, os.O_TRUNC | os.O_ACCMODE)]
            rules[name] = [*truncates, *_choose((os.O_TRUNC,), _DENY, _ALLOW)]
    return rules


def _search_tree(answers: Sequence[tuple[int, list[Op]]]) -> list[Op]:
    """
    Branch on the loaded number: each answer holds from its number up to the next one's.

    A tree, not a list: the kernel runs the filter over every number of a system call when a child puts it on.
    """
    if len(answers) == 1:
        return answers[0][1]
    middle = len(answers) // 2
    below, above = _search_tree(answers[:middle]), _search_tree(answers[middle:])
    if len(below) < 256:
        return [(_AT_LEAST, len(below), 0, answers[middle][0]), *below, *above]
    return [(_AT_LEAST, 0, 1, answers[middle][0]), (_SKIP, 0, 0, len(below)), *below, *above]


def filter_ops(architecture: Architecture, *, guard_files: bool) -> list[Op]:
    """
    Return the instructions of the seccomp filter. `guard_files`: it denies writing files, because Landlock is missing.

    Calls that are not named are allowed, for the sake of correct programs. Calls above `NEWEST_KNOWN` fail as unknown.
    """
    numbers = architecture.numbers
    rules = _conditions(guard_files)
    rules |= {name: [_DENY] for name in DENIED}
    rules |= {name: [_fail(0)] for name in IGNORED}
    rules |= {name: [_fail(errno.ENOTSUP)] for name in UNSUPPORTED}
    rules |= {name: [_fail(errno.ENOSYS)] for name in ABSENT}
    if guard_files:
        rules |= {name: [_fail(errno.EACCES)] for name in FILE_CHANGES}
    by_number = {numbers[name]: rule for name, rule in rules.items() if name in numbers}
    # The largest operands include the x32 interface, which has numbers of its own.
    by_number[NEWEST_KNOWN + 1] = [_fail(errno.ENOSYS)]
    answers: list[tuple[int, list[Op]]] = []
    for number in range(NEWEST_KNOWN + 2):
        answer = by_number.get(number, [_ALLOW])
        if not answers or answers[-1][1] != answer:
            answers.append((number, answer))
    is_known = (_EQUAL, 1, 0, architecture.audit)
    start = [(_LOAD, 0, 0, _OFFSET_ARCH), is_known, _KILL, (_LOAD, 0, 0, _OFFSET_NUMBER)]
    return [*start, *_search_tree(answers)]


class _Instruction(ctypes.Structure):
    """`struct sock_filter`."""

    _fields_ = (("code", ctypes.c_uint16), ("jt", ctypes.c_uint8), ("jf", ctypes.c_uint8), ("k", ctypes.c_uint32))


class _FilterProgram(ctypes.Structure):
    """`struct sock_fprog`."""

    _fields_ = (("length", ctypes.c_uint16), ("instructions", ctypes.POINTER(_Instruction)))


class Filter:
    """
    Seccomp filter in memory, made once in the fork server and put on by each child.

    Creation raises OSError if the kernel has no seccomp filters.
    """

    def __init__(self, architecture: Architecture, *, guard_files: bool) -> None:
        ops = filter_ops(architecture, guard_files=guard_files)
        self._instructions = (_Instruction * len(ops))(*(_Instruction(*op) for op in ops))
        self._program = _FilterProgram(len(ops), self._instructions)
        self._pids = [self._operand(index) for index, op in enumerate(ops) if op[3] == PID_SLOT]
        self._signals = [self._operand(index) for index, op in enumerate(ops) if op[3] == SIGNAL_SLOT]
        number = architecture.numbers["seccomp"]
        self._call = (number, _SET_MODE_FILTER, _supported_flags(number), ctypes.addressof(self._program))

    def put_on(self, guarded_signal: int) -> None:
        """Put the filter on the calling process, for good. It cannot change the handler of a signal other than 0."""
        pid = os.getpid()
        for operand in self._pids:
            operand.value = pid
        for operand in self._signals:
            operand.value = guarded_signal
        syscall(*self._call)

    def _operand(self, index: int) -> ctypes.c_uint32:
        """Return the operand of an instruction, in the filter's own memory."""
        return ctypes.c_uint32.from_buffer(self._instructions[index], _Instruction.k.offset)


def _supported_flags(call_number: int) -> int:
    """Return the best flags that the kernel knows. Raise OSError if it has no filters."""
    for flags in (_SPEC_ALLOW, 0):
        try:
            syscall(call_number, _SET_MODE_FILTER, flags, 0)
        except OSError as error:
            if error.errno == errno.EFAULT:  # a filter is understood, only ours is missing
                return flags
            if error.errno != errno.EINVAL:
                raise
    raise OSError(errno.EINVAL, "the kernel knows no seccomp filters")
