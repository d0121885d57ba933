"""
What keeps an untrusted program from harming the machine: limits and kernel filters, without root and without helpers.

`prepare` runs once in the fork server and does what is costly; `Hardening.enter_child` runs in every forked child, and
the program cannot undo it. The layers:

    rlimits         memory, CPU time, size of files, number of descriptors
    session         a session and process group of its own, so that all of it can be killed
    death_signal    the child dies with the server
    subreaper       the server inherits, and can kill, what a child leaves behind
    no_new_privs    no privileges by executing a file
    capabilities    none, not even for root
    not_dumpable    no process of the same user can trace the server or open its memory
    seccomp         no new processes, sockets, signals to others, tracing, mounts; limits stay as they are
    landlock        files: the interpreter's for reading, the scratch folder for writing, nothing else

What this does not stop: bugs of the kernel; slowing the machine; names, sizes and dates of files, which `os.stat`
tells of any path that the user can reach; what stays below the limits (many threads, many empty files). Put a virtual
machine or gVisor around the whole job where the model is an adversary.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import resource
import signal
import stat
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress


# Signal for the soft time limit: no ordinary program touches it.
SOFT_SIGNAL: int = signal.SIGRTMAX - 1 if sys.platform == "linux" else signal.SIGXCPU

STOPS = {
    "rlimits": "memory bombs, endless use of the CPU, full disks",
    "session": "processes that stay behind in the background",
    "death_signal": "programs that outlive the fork server",
    "subreaper": "daemons that leave their process group",
    "no_new_privs": "gaining privileges through setuid files",
    "capabilities": "the powers of root: mounting, raising limits, reading other users' processes",
    "not_dumpable": "tracing the fork server and reading its memory",
    "seccomp": "starting processes, network access, signals to other processes, tracing, raised limits",
    "landlock": "reading and changing files outside the scratch folder",
}

_PRCTL = "use Linux 3.5 or newer, in a container whose seccomp profile lets prctl through, as Docker's default does"
FIXES = {
    "rlimits": "mount /proc, and lift limits of your own that are lower than what programs are given",
    "session": "use Linux",
    "death_signal": _PRCTL,
    "subreaper": _PRCTL,
    "no_new_privs": _PRCTL,
    "capabilities": "use a container whose seccomp profile lets capset through, as Docker's default does",
    "not_dumpable": _PRCTL,
    "seccomp": "use Linux 3.17 or newer on x86-64 or aarch64, in a container that lets prctl and seccomp through; "
    "under gVisor its own kernel takes this part",
    "landlock": "use Linux 5.13 or newer with `landlock` among /sys/kernel/security/lsm (kernel parameter `lsm=`), in "
    "a container whose seccomp profile knows its calls (Docker 23 or newer)",
}

# Read-only besides the interpreter's own folders.
_SYSTEM_PATHS = (
    *("/lib", "/lib32", "/lib64", "/usr/lib", "/usr/lib32", "/usr/lib64", "/usr/local/lib", "/usr/local/lib64"),
    *("/etc/ld.so.cache", "/etc/ld.so.conf", "/etc/ld.so.conf.d", "/etc/ld.so.preload"),
    *("/etc/localtime", "/etc/timezone", "/usr/share/zoneinfo", "/etc/zoneinfo"),
    *("/etc/locale.alias", "/usr/share/locale", "/usr/share/i18n"),
    *("/etc/mime.types", "/etc/os-release", "/etc/ssl/openssl.cnf", "/etc/pki/tls/openssl.cnf"),
    *("/proc/cpuinfo", "/proc/meminfo", "/proc/sys/vm/overcommit_memory", "/sys/devices/system/cpu"),
    *("/dev/urandom", "/dev/random", "/dev/zero"),
)
_WRITABLE_DEVICES = ("/dev/null", "/dev/full")

_PENDING_SIGNALS = 256
_M_ARENA_MAX = -8


class IsolationUnavailable(RuntimeError):
    """
    Raised by `prepare` when a layer that must be there is not; names it and what it would have stopped.

    Attributes:
        missing (`dict[str, str]`):
            For each missing layer: what it would have stopped, why it is missing, and the fix. Empty if no layer is.
    """

    def __init__(self, message: str, missing: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.missing = dict(missing or {})


# --- system calls ----------------------------------------------------------------------------------------------------


def _table(text: str) -> dict[str, int]:
    return {name: int(number) for name, _, number in (entry.partition("=") for entry in text.split())}


# From 424 on the numbers are the same on every architecture. Calls newer than the newest do not exist for a program.
_NEWEST_KNOWN = 462
_UNIFIED = _table(
    """
    pidfd_send_signal=424  io_uring_setup=425  io_uring_enter=426  io_uring_register=427  open_tree=428
    move_mount=429  fsopen=430  fsconfig=431  fsmount=432  fspick=433  pidfd_open=434  clone3=435  openat2=437
    pidfd_getfd=438  process_madvise=440  mount_setattr=442  quotactl_fd=443  landlock_create_ruleset=444
    landlock_add_rule=445  landlock_restrict_self=446  memfd_secret=447  process_mrelease=448  fchmodat2=452
    statmount=457  listmount=458  lsm_get_self_attr=459  lsm_set_self_attr=460  lsm_list_modules=461
    """
)
_X86_64 = _table(
    """
    open=2  rt_sigaction=13  ioctl=16  shmget=29  shmat=30  shmctl=31  socket=41  connect=42  accept=43  bind=49
    listen=50  socketpair=53  clone=56  fork=57  vfork=58  execve=59  kill=62  semget=64  semctl=66  msgget=68
    msgsnd=69  msgctl=71  fcntl=72  truncate=76  rename=82  mkdir=83  rmdir=84  creat=85  link=86  unlink=87
    symlink=88  chmod=90  fchmod=91  chown=92  fchown=93  lchown=94  ptrace=101  syslog=103  setuid=105  setgid=106
    setpgid=109  setsid=112  setreuid=113  setregid=114  setgroups=116  setresuid=117  setresgid=119  setfsuid=122
    setfsgid=123  capset=126  rt_sigqueueinfo=129  utime=132  mknod=133  uselib=134  personality=135  ustat=136
    sysfs=139  setpriority=141  sched_setparam=142  sched_setscheduler=144  vhangup=153  modify_ldt=154
    pivot_root=155  _sysctl=156  prctl=157  adjtimex=159  setrlimit=160  chroot=161  sync=162  acct=163
    settimeofday=164  mount=165  umount2=166  swapon=167  swapoff=168  reboot=169  sethostname=170
    setdomainname=171  iopl=172  ioperm=173  init_module=175  delete_module=176  quotactl=179  nfsservctl=180
    setxattr=188  lsetxattr=189  fsetxattr=190  removexattr=197  lremovexattr=198  fremovexattr=199  tkill=200
    sched_setaffinity=203  lookup_dcookie=212  clock_settime=227  tgkill=234  utimes=235  mq_open=240
    mq_unlink=241  kexec_load=246  add_key=248  request_key=249  keyctl=250  ioprio_set=251  inotify_add_watch=254
    migrate_pages=256  openat=257  mkdirat=258  mknodat=259  fchownat=260  futimesat=261  unlinkat=263
    renameat=264  linkat=265  symlinkat=266  fchmodat=268  unshare=272  move_pages=279  utimensat=280  accept4=288
    rt_tgsigqueueinfo=297  perf_event_open=298  fanotify_init=300  fanotify_mark=301  prlimit64=302
    name_to_handle_at=303  open_by_handle_at=304  clock_adjtime=305  syncfs=306  setns=308  process_vm_readv=310
    process_vm_writev=311  kcmp=312  finit_module=313  sched_setattr=314  renameat2=316  seccomp=317
    memfd_create=319  kexec_file_load=320  bpf=321  execveat=322  userfaultfd=323  uretprobe=335  uprobe=336
    """
)
_AARCH64 = _table(
    """
    setxattr=5  lsetxattr=6  fsetxattr=7  removexattr=14  lremovexattr=15  fremovexattr=16  lookup_dcookie=18
    fcntl=25  inotify_add_watch=27  ioctl=29  ioprio_set=30  mknodat=33  mkdirat=34  unlinkat=35  symlinkat=36
    linkat=37  renameat=38  umount2=39  mount=40  pivot_root=41  nfsservctl=42  truncate=45  chroot=51  fchmod=52
    fchmodat=53  fchownat=54  fchown=55  openat=56  vhangup=58  quotactl=60  sync=81  utimensat=88  acct=89
    capset=91  personality=92  unshare=97  kexec_load=104  init_module=105  delete_module=106  clock_settime=112
    syslog=116  ptrace=117  sched_setparam=118  sched_setscheduler=119  sched_setaffinity=122  kill=129  tkill=130
    tgkill=131  rt_sigaction=134  rt_sigqueueinfo=138  setpriority=140  reboot=142  setregid=143  setgid=144
    setreuid=145  setuid=146  setresuid=147  setresgid=149  setfsuid=151  setfsgid=152  setpgid=154  setsid=157
    setgroups=159  sethostname=161  setdomainname=162  setrlimit=164  prctl=167  settimeofday=170  adjtimex=171
    mq_open=180  mq_unlink=181  msgget=186  msgctl=187  msgsnd=189  semget=190  semctl=191  shmget=194  shmctl=195
    shmat=196  socket=198  socketpair=199  bind=200  listen=201  accept=202  connect=203  add_key=217
    request_key=218  keyctl=219  clone=220  execve=221  swapon=224  swapoff=225  migrate_pages=238  move_pages=239
    rt_tgsigqueueinfo=240  perf_event_open=241  accept4=242  prlimit64=261  fanotify_init=262  fanotify_mark=263
    name_to_handle_at=264  open_by_handle_at=265  clock_adjtime=266  syncfs=267  setns=268  process_vm_readv=270
    process_vm_writev=271  kcmp=272  finit_module=273  sched_setattr=274  renameat2=276  seccomp=277
    memfd_create=279  bpf=280  execveat=281  userfaultfd=282  kexec_file_load=294
    """
)
# Machine -> (AUDIT_ARCH of linux/audit.h, numbers).
_ARCHITECTURES = {"x86_64": (0xC000003E, _X86_64 | _UNIFIED), "aarch64": (0xC00000B7, _AARCH64 | _UNIFIED)}

_DENIED = (
    # processes; threads are let through below
    *("fork", "vfork", "execve", "execveat", "setsid", "setpgid", "unshare", "setns", "personality", "uselib"),
    # other processes
    *("tkill", "pidfd_open", "pidfd_send_signal", "pidfd_getfd", "ptrace", "process_vm_readv", "process_vm_writev"),
    *("kcmp", "process_madvise", "process_mrelease", "perf_event_open", "migrate_pages", "move_pages"),
    *("sched_setparam", "sched_setscheduler", "sched_setattr", "ioprio_set"),
    # network; socketpair is let through below, for asyncio
    *("socket", "connect", "bind", "listen", "accept", "accept4"),
    # what outlives the process or is counted by no limit
    *("shmget", "shmat", "shmctl", "msgget", "msgsnd", "msgctl", "semget", "semctl", "mq_open", "mq_unlink"),
    *("memfd_create", "memfd_secret", "keyctl", "add_key", "request_key"),
    # identity
    *("setuid", "setgid", "setreuid", "setregid", "setresuid", "setresgid", "setfsuid", "setfsgid", "setgroups"),
    "capset",
    # file systems, and what Landlock does not see
    *("mount", "umount2", "chroot", "pivot_root", "open_tree", "move_mount", "fsopen", "fsconfig", "fsmount"),
    *("fspick", "mount_setattr", "statmount", "listmount", "name_to_handle_at", "open_by_handle_at", "quotactl"),
    *("quotactl_fd", "fanotify_init", "fanotify_mark", "inotify_add_watch", "lookup_dcookie", "nfsservctl"),
    *("sysfs", "ustat", "acct", "swapon", "swapoff", "chown", "fchown", "lchown", "fchownat"),
    # the machine, and doors to the kernel that no program here needs
    *("reboot", "kexec_load", "kexec_file_load", "init_module", "finit_module", "delete_module", "sethostname"),
    *("setdomainname", "settimeofday", "clock_settime", "clock_adjtime", "adjtimex", "syslog", "vhangup", "iopl"),
    *("ioperm", "modify_ldt", "_sysctl", "bpf", "userfaultfd", "io_uring_setup", "io_uring_enter"),
    *("io_uring_register", "uretprobe", "uprobe", "seccomp", "landlock_create_ruleset", "landlock_add_rule"),
    *("landlock_restrict_self", "lsm_get_self_attr", "lsm_set_self_attr", "lsm_list_modules"),
)
# Succeed without effect: correct programs call them, or library functions such as `shutil.copy` do.
_IGNORED = (
    *("setrlimit", "setpriority", "sched_setaffinity", "sync", "syncfs"),
    *("chmod", "fchmod", "fchmodat", "fchmodat2", "utime", "utimes", "utimensat", "futimesat"),
)
_UNSUPPORTED = ("setxattr", "lsetxattr", "fsetxattr", "removexattr", "lremovexattr", "fremovexattr")
_ABSENT = ("clone3", "openat2")  # the C library falls back to calls whose arguments a filter can see
# Denied where Landlock does not guard the files.
_FILE_CHANGES = (
    *("creat", "truncate", "unlink", "unlinkat", "rmdir", "rename", "renameat", "renameat2", "mkdir", "mkdirat"),
    *("mknod", "mknodat", "symlink", "symlinkat", "link", "linkat"),
)

_PR_SET_PDEATHSIG = 1
_PR_SET_DUMPABLE = 4
_PR_CAPBSET_DROP = 24
_PR_SET_CHILD_SUBREAPER = 36
_PR_SET_NO_NEW_PRIVS = 38
_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL = 47, 4
# prctl: reading, thread names, timer slack, huge pages, no_new_privs, names of memory areas.
_PRCTL_ALLOWED = (2, 3, 15, 16, 21, 23, 29, 30, 38, 39, 41, 42, 0x53564D41)
# ioctl: TCGETS and TIOCGWINSZ (is it a terminal?), FIONREAD, FIONBIO, FIONCLEX, FIOCLEX.
_IOCTL_ALLOWED = (0x5401, 0x5413, 0x541B, 0x5421, 0x5450, 0x5451)
# fcntl: F_SETOWN, F_SETSIG, F_SETOWN_EX have the kernel signal another process; F_SETLEASE and F_NOTIFY watch files.
_FCNTL_DENIED = (8, 10, 15, 1024, 1026)
_CLONE_THREAD = 0x00010000
_CLONE_NEW = 0x7E020000  # every namespace
_AF_UNIX, _SOCK_STREAM, _SOCK_TYPE_MASK = 1, 1, 0xF


class _Kernel:
    """System calls by number, with `OSError` for failures."""

    def __init__(self) -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        self._syscall = libc.syscall
        self._syscall.argtypes = [ctypes.c_long] * 7
        self._syscall.restype = ctypes.c_long
        self._prctl = libc.prctl
        self._prctl.argtypes = [ctypes.c_int, *[ctypes.c_ulong] * 4]
        self._capset = libc.capset
        self._capset.argtypes = [ctypes.c_void_p, ctypes.c_void_p]

    def call(self, number: int, *arguments: int) -> int:
        result: int = self._syscall(number, *arguments, *[0] * (6 - len(arguments)))
        _check(result)
        return result

    def prctl(self, option: int, *arguments: int) -> None:
        _check(self._prctl(option, *arguments, *[0] * (4 - len(arguments))))

    def capset(self, header: int, sets: int) -> None:
        _check(self._capset(header, sets))


def _check(result: int) -> None:
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


# --- seccomp ---------------------------------------------------------------------------------------------------------


class _Instruction(ctypes.Structure):
    """`struct sock_filter`."""

    _fields_ = (("code", ctypes.c_uint16), ("jt", ctypes.c_uint8), ("jf", ctypes.c_uint8), ("k", ctypes.c_uint32))


class _FilterProgram(ctypes.Structure):
    """`struct sock_fprog`."""

    _fields_ = (("length", ctypes.c_uint16), ("instructions", ctypes.POINTER(_Instruction)))


_Op = tuple[int, int, int, int]  # code, instructions skipped if true, skipped if false, operand

_LOAD, _AND, _RETURN, _SKIP = 0x20, 0x54, 0x06, 0x05
_EQUAL, _AT_LEAST, _ANY_BIT = 0x15, 0x35, 0x45
_OFFSET_NUMBER, _OFFSET_ARCH, _OFFSET_ARGUMENTS = 0, 4, 16  # in struct seccomp_data
_ALLOW: _Op = (_RETURN, 0, 0, 0x7FFF0000)
_KILL: _Op = (_RETURN, 0, 0, 0x80000000)
_MAY_WRITE = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
# Stand for the child's pid and for the signal whose handler stays, until a child fills them in.
_PID_SLOT, _SIGNAL_SLOT = 0xFFFFFFF0, 0xFFFFFFF1


def _fail(code: int) -> _Op:
    return (_RETURN, 0, 0, 0x00050000 | code)


_DENY = _fail(errno.EPERM)


def _argument(index: int, *, high: bool = False) -> _Op:
    """Load one half of an argument; both architectures are little-endian."""
    return (_LOAD, 0, 0, _OFFSET_ARGUMENTS + 8 * index + 4 * high)


def _choose(values: Sequence[int], found: _Op, other: _Op) -> list[_Op]:
    """One answer if the loaded word is among the values, another if not."""
    count = len(values)
    return [*((_EQUAL, count - index, 0, value) for index, value in enumerate(values)), other, found]


def _conditions(guard_files: bool) -> dict[str, list[_Op]]:
    """Calls that are answered by their arguments."""
    # A program may signal itself: os.abort, signal.raise_signal, pthread_kill, os.kill(os.getpid(), ...).
    to_itself = [_argument(0), *_choose((_PID_SLOT,), _ALLOW, _DENY)]
    rules = dict.fromkeys(("kill", "tgkill", "rt_sigqueueinfo", "rt_tgsigqueueinfo"), to_itself)
    # Threads, but no processes and no namespaces.
    thread = [_argument(0), (_AND, 0, 0, _CLONE_THREAD | _CLONE_NEW)]
    rules["clone"] = [*thread, *_choose((_CLONE_THREAD,), _ALLOW, _DENY)]
    # A connected pair inside the process. Datagram sockets could still send to any address.
    pair = [_argument(0), (_EQUAL, 1, 0, _AF_UNIX), _DENY, _argument(1), (_AND, 0, 0, _SOCK_TYPE_MASK)]
    rules["socketpair"] = [*pair, *_choose((_SOCK_STREAM,), _ALLOW, _DENY)]
    # Limits can be read; setting them succeeds without effect.
    reads = [_argument(2), (_EQUAL, 0, 2, 0), _argument(2, high=True), (_EQUAL, 1, 0, 0)]
    rules["prlimit64"] = [*reads, _fail(0), _ALLOW]
    # The handler of the soft time limit stays.
    asks = [_argument(1), (_EQUAL, 0, 2, 0), _argument(1, high=True), (_EQUAL, 1, 0, 0)]
    rules["rt_sigaction"] = [_argument(0), (_EQUAL, 1, 0, _SIGNAL_SLOT), _ALLOW, *asks, _DENY, _ALLOW]
    rules["prctl"] = [_argument(0), *_choose(_PRCTL_ALLOWED, _ALLOW, _DENY)]
    rules["ioctl"] = [_argument(1), *_choose(_IOCTL_ALLOWED, _ALLOW, _fail(errno.ENOTTY))]
    rules["fcntl"] = [_argument(1), *_choose(_FCNTL_DENIED, _DENY, _ALLOW)]
    for name, index in (("open", 1), ("openat", 2)):
        if guard_files:
            rules[name] = [_argument(index), (_ANY_BIT, 0, 1, _MAY_WRITE), _fail(errno.EACCES), _ALLOW]
        else:
            # Truncating a file that is opened for reading: Landlock sees it from its third version on.
            truncates = [_argument(index), (_AND, 0, 0, os.O_TRUNC | os.O_ACCMODE)]
            rules[name] = [*truncates, *_choose((os.O_TRUNC,), _DENY, _ALLOW)]
    return rules


def _search_tree(answers: Sequence[tuple[int, list[_Op]]]) -> list[_Op]:
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


def _filter_ops(machine: str, *, guard_files: bool) -> list[_Op]:
    """
    Instructions of the seccomp filter.

    What is not named is allowed, for the sake of correct programs; what is newer than this file does not exist.
    """
    arch, numbers = _ARCHITECTURES[machine]
    rules = _conditions(guard_files)
    rules |= {name: [_DENY] for name in _DENIED}
    rules |= {name: [_fail(0)] for name in _IGNORED}
    rules |= {name: [_fail(errno.ENOTSUP)] for name in _UNSUPPORTED}
    rules |= {name: [_fail(errno.ENOSYS)] for name in _ABSENT}
    if guard_files:
        rules |= {name: [_fail(errno.EACCES)] for name in _FILE_CHANGES}
    by_number = {numbers[name]: rule for name, rule in rules.items() if name in numbers}
    # The largest operands include the x32 interface, which has numbers of its own.
    by_number[_NEWEST_KNOWN + 1] = [_fail(errno.ENOSYS)]
    answers: list[tuple[int, list[_Op]]] = []
    for number in range(_NEWEST_KNOWN + 2):
        answer = by_number.get(number, [_ALLOW])
        if not answers or answers[-1][1] != answer:
            answers.append((number, answer))
    start = [(_LOAD, 0, 0, _OFFSET_ARCH), (_EQUAL, 1, 0, arch), _KILL, (_LOAD, 0, 0, _OFFSET_NUMBER)]
    return [*start, *_search_tree(answers)]


class _Filter:
    """Seccomp filter in memory; a child fills in its own pid before it puts the filter on."""

    def __init__(self, machine: str, *, guard_files: bool) -> None:
        ops = _filter_ops(machine, guard_files=guard_files)
        self._instructions = (_Instruction * len(ops))(*(_Instruction(*op) for op in ops))
        self._program = _FilterProgram(len(ops), self._instructions)
        self._pid_slots = [index for index, op in enumerate(ops) if op[3] == _PID_SLOT]
        self._signal_slots = [index for index, op in enumerate(ops) if op[3] == _SIGNAL_SLOT]
        self.address = ctypes.addressof(self._program)

    def personalize(self, pid: int, guarded_signal: int) -> None:
        """Fill in the pid that signals may go to and the signal whose handler stays (0: none)."""
        for index in self._pid_slots:
            self._instructions[index].k = pid
        for index in self._signal_slots:
            self._instructions[index].k = guarded_signal


# --- Landlock --------------------------------------------------------------------------------------------------------


class _RulesetAttr(ctypes.Structure):
    """`struct landlock_ruleset_attr`."""

    _fields_ = (("fs", ctypes.c_uint64), ("net", ctypes.c_uint64), ("scoped", ctypes.c_uint64))


class _PathBeneathAttr(ctypes.Structure):
    """`struct landlock_path_beneath_attr`, which is packed: only the padding at its end is left out there."""

    _fields_ = (("allowed", ctypes.c_uint64), ("parent_fd", ctypes.c_int32))


_FS_EXECUTE, _FS_WRITE_FILE, _FS_READ_FILE, _FS_READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
_FS_MAKE_CHAR, _FS_MAKE_SOCK, _FS_MAKE_BLOCK = 1 << 6, 1 << 9, 1 << 11
_FS_TRUNCATE, _FS_IOCTL_DEV = 1 << 14, 1 << 15
_FS_ON_FILES = _FS_WRITE_FILE | _FS_READ_FILE | _FS_TRUNCATE
_NET_TCP = 0b11  # bind, connect
_SCOPED = 0b11  # abstract unix sockets, signals
_LOG_SAME_EXEC_OFF = 1 << 0
_RULE_PATH_BENEATH = 1


def _handled_fs(abi: int) -> int:
    """Every access to files that this version of Landlock can deny."""
    highest = 12 if abi < 2 else 13 if abi < 3 else 14 if abi < 5 else 15
    return (1 << (highest + 1)) - 1


def _landlock_abi(kernel: _Kernel) -> int:
    return kernel.call(_UNIFIED["landlock_create_ruleset"], 0, 0, 1)


class _Ruleset:
    """Landlock ruleset, made once; every child puts it on itself: the server stays free to wipe the scratch folder."""

    def __init__(self, kernel: _Kernel, scratch: str, readable: Sequence[str]) -> None:
        self._kernel = kernel
        self.abi = _landlock_abi(kernel)
        handled = _handled_fs(self.abi)
        attr = _RulesetAttr(handled, _NET_TCP if self.abi >= 4 else 0, _SCOPED if self.abi >= 6 else 0)
        size = 8 if self.abi < 4 else 16 if self.abi < 6 else 24
        self.fd = kernel.call(_UNIFIED["landlock_create_ruleset"], ctypes.addressof(attr), size, 0)
        self._allow(scratch, handled & ~(_FS_EXECUTE | _FS_MAKE_CHAR | _FS_MAKE_BLOCK | _FS_MAKE_SOCK | _FS_IOCTL_DEV))
        for path in (*readable, *_SYSTEM_PATHS):
            self._allow_if_there(path, (_FS_READ_FILE | _FS_READ_DIR) & handled)
        for path in _WRITABLE_DEVICES:
            self._allow_if_there(path, _FS_ON_FILES & handled)

    def _allow_if_there(self, path: str, access: int) -> None:
        with suppress(FileNotFoundError, NotADirectoryError, PermissionError):
            self._allow(path, access)

    def _allow(self, path: str, access: int) -> None:
        descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
        try:
            if not stat.S_ISDIR(os.fstat(descriptor).st_mode):
                access &= _FS_ON_FILES
            rule = _PathBeneathAttr(access, descriptor)
            arguments = (self.fd, _RULE_PATH_BENEATH, ctypes.addressof(rule), 0)
            self._kernel.call(_UNIFIED["landlock_add_rule"], *arguments)
        finally:
            os.close(descriptor)

    def restrict_self(self) -> None:
        """Put the rules on the calling process, for good."""
        flags = _LOG_SAME_EXEC_OFF if self.abi >= 7 else 0  # a denied access is no news for the audit log
        self._kernel.call(_UNIFIED["landlock_restrict_self"], self.fd, flags)


# --- what the fork server calls --------------------------------------------------------------------------------------


class Hardening:
    """
    Layers of isolation that are in force for the children of this process. Made by [`prepare`].

    Attributes:
        layers (`dict[str, bool]`): Whether each layer of `STOPS` is in force, as a trial child found.
        missing (`dict[str, str]`): For each layer that is not: what it would have stopped, and why it is not there.
        soft_signal (`int`):
            Signal for the soft time limit. A handler that is installed before `enter_child` cannot be replaced by the
            program. It can be blocked, or be out of reach (a loop in C), so `SIGKILL` has to follow.
        landlock_abi (`int`): Version of Landlock in the kernel, 0 if there is none.
    """

    soft_signal: int = SOFT_SIGNAL

    def __init__(self) -> None:
        self.layers = dict.fromkeys(STOPS, False)
        self.missing: dict[str, str] = {}
        self.landlock_abi = 0
        self._server_pid = os.getpid()
        self._kernel: _Kernel | None = None
        self._filter: _Filter | None = None
        self._seccomp: tuple[int, int] = (0, 0)  # number of the call, flags
        self._ruleset: _Ruleset | None = None
        self._statm_fd: int | None = None

    def enter_child(
        self, *, memory_limit_bytes: int, cpu_limit_s: float, file_limit_bytes: int, open_files: int
    ) -> None:
        """
        Confine the calling process: once, in a freshly forked child, before anything untrusted is compiled or run.

        Install the handler of `soft_signal` and make files in memory before. Close the descriptors that the program
        must not have.

        Args:
            memory_limit_bytes (`int`): Address space on top of the fork server's own at this moment.
            cpu_limit_s (`float`):
                CPU seconds, rounded up. `SIGXCPU` comes then and `SIGKILL` a second later: a last resort, the fork
                server watches the time itself.
            file_limit_bytes (`int`): Size of any file the program writes; beyond it `OSError` with `EFBIG`.
            open_files (`int`): Highest descriptor the program can open, plus one.

        Raises:
            OSError: If a layer of `layers` could not be put on. The child must not run the program then.
        """
        if self.layers["rlimits"]:
            self._limit(memory_limit_bytes, cpu_limit_s, file_limit_bytes, open_files)
        if self.layers["session"]:
            os.setsid()
        if self.layers["death_signal"]:
            self._die_with_server()
        if self.layers["landlock"]:
            self._restrict_files()
        if self.layers["seccomp"]:
            self._filter_calls()

    def _limit(self, memory_limit_bytes: int, cpu_limit_s: float, file_limit_bytes: int, open_files: int) -> None:
        cpu = -int(-cpu_limit_s // 1)
        if self._statm_fd is not None:
            pages = int(os.pread(self._statm_fd, 64, 0).split()[0])
            os.close(self._statm_fd)
            _set_limit(resource.RLIMIT_AS, pages * resource.getpagesize() + memory_limit_bytes)
        _set_limit(resource.RLIMIT_CPU, cpu, cpu + 1)
        _set_limit(resource.RLIMIT_FSIZE, file_limit_bytes)
        _set_limit(resource.RLIMIT_NOFILE, open_files)
        _set_limit(resource.RLIMIT_CORE, 0)
        if sys.platform == "linux":
            # The queue of pending signals is shared by all processes of a user.
            _set_limit(resource.RLIMIT_SIGPENDING, _PENDING_SIGNALS)

    def _die_with_server(self) -> None:
        assert self._kernel is not None
        self._kernel.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != self._server_pid:
            os._exit(1)  # it died before the line above

    def _restrict_files(self) -> None:
        assert self._ruleset is not None
        self._ruleset.restrict_self()
        os.close(self._ruleset.fd)

    def _filter_calls(self) -> None:
        assert self._kernel is not None
        assert self._filter is not None
        guarded = self.soft_signal if callable(signal.getsignal(self.soft_signal)) else 0
        self._filter.personalize(os.getpid(), guarded)
        number, flags = self._seccomp
        self._kernel.call(number, 1, flags, self._filter.address)

    # What follows runs once, in the server.

    def _attempt(self, layer: str, action: Callable[[], None]) -> None:
        try:
            action()
        except OSError as error:
            self._lack(layer, error.strerror or str(error))
        else:
            self.layers[layer] = True

    def _lack(self, layer: str, reason: str) -> None:
        self.layers[layer] = False
        self.missing[layer] = f"{STOPS[layer]} ({reason})"

    def _prepare_limits(self) -> None:
        # Each thread's heap would reserve 64 MiB of the address space: a dozen threads would use up a program's limit.
        with suppress(AttributeError):  # only glibc has it
            ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 1)
        if sys.platform == "linux":  # elsewhere nobody says how much there is already
            self._statm_fd = os.open("/proc/self/statm", os.O_RDONLY | os.O_CLOEXEC)

    def _make_ruleset(self, scratch: str, readable: Sequence[str]) -> None:
        assert self._kernel is not None
        self._ruleset = _Ruleset(self._kernel, scratch, readable)
        self.landlock_abi = self._ruleset.abi

    def _make_filter(self) -> None:
        assert self._kernel is not None
        machine = _machine()
        self._filter = _Filter(machine, guard_files=not self.layers["landlock"])
        number = _ARCHITECTURES[machine][1]["seccomp"]
        for flags in (4, 0):  # 4: without the brakes on speculation; the child holds no secret
            try:
                self._kernel.call(number, 1, flags, 0)
            except OSError as error:
                if error.errno == errno.EFAULT:  # a filter is understood, only ours is missing
                    self._seccomp = number, flags
                    return
                if error.errno != errno.EINVAL:
                    raise
        raise OSError(errno.EINVAL, "the kernel knows no seccomp filters")

    def _drop_capabilities(self) -> None:
        assert self._kernel is not None
        with suppress(OSError):  # beyond the last one; or without the right to do so, when there are none to drop
            for capability in range(64):
                self._kernel.prctl(_PR_CAPBSET_DROP, capability)
        with suppress(OSError):  # kernels before 4.3
            self._kernel.prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL)
        header = (ctypes.c_uint32 * 2)(0x20080522, 0)
        sets = (ctypes.c_uint32 * 6)()
        self._kernel.capset(ctypes.addressof(header), ctypes.addressof(sets))

    def _try_out(self) -> None:
        """Let a trial child put the layers on and test them; whatever does not hold there is missing."""
        trials: dict[str, Callable[[], bool]] = {
            "rlimits": self._try_limits,
            "session": self._try_session,
            "death_signal": self._try_death_signal,
            "landlock": self._try_landlock,
            "seccomp": self._try_seccomp,
        }
        pid = os.fork()
        if pid == 0:
            failed = 0xFF
            try:
                failed = sum(1 << i for i, layer in enumerate(trials) if self.layers[layer] and not trials[layer]())
            finally:
                os._exit(failed)
        _, status = os.waitpid(pid, 0)
        failed = os.WEXITSTATUS(status) if os.WIFEXITED(status) else 0xFF
        for index, layer in enumerate(trials):
            if self.layers[layer] and failed & 1 << index:
                self._lack(layer, "not in force in a trial")

    def _try_limits(self) -> bool:
        with suppress(OSError, ValueError):
            self._limit(2**30, 10, 2**20, 64)
        return [resource.getrlimit(kind)[0] for kind in (resource.RLIMIT_CPU, resource.RLIMIT_CORE)] == [10, 0]

    def _try_session(self) -> bool:
        with suppress(OSError):
            os.setsid()
        return os.getsid(0) == os.getpid()

    def _try_death_signal(self) -> bool:
        try:
            self._die_with_server()
        except OSError:
            return False
        return True

    def _try_landlock(self) -> bool:
        try:
            self._restrict_files()
            os.listdir("/")
        except OSError as error:
            return error.errno == errno.EACCES
        return False

    def _try_seccomp(self) -> bool:
        assert self._kernel is not None
        try:
            self._filter_calls()
        except OSError:
            return False
        try:
            self._kernel.call(_ARCHITECTURES[_machine()][1]["socket"], _AF_UNIX, _SOCK_STREAM, 0)
        except OSError as error:
            return error.errno == errno.EPERM
        return False


def prepare(*, scratch: str, readable: Sequence[str], isolation: str, portable: bool | None = None) -> Hardening:
    """
    Confine the calling process, a fork server, as far as it can do with, and prepare what its children put on.

    Call it once, single-threaded, after everything is imported and before the first fork.

    Args:
        scratch (`str`): Folder that programs may write to.
        readable (`Sequence[str]`):
            Folders and files that programs may read: the interpreter's. Shared libraries, time zones and locales of
            the system are added.
        isolation (`str`):
            `"auto"` takes the layers that there are, `"strict"` all or none, `"none"` only `rlimits` and `session`.
        portable (`bool`, *optional*):
            Only what every POSIX system has: `rlimits`, where there is /proc also for memory, and `session`. Defaults
            to whether this is not Linux.

    Returns:
        `Hardening`: What is in force, and the entry for children.

    Raises:
        ValueError: If `isolation` is none of these, or `readable` holds the root folder.
        IsolationUnavailable:
            If `isolation` is `"strict"` and a layer is missing, or if the interpreter's files can be read only with
            the powers of root.
    """
    if isolation not in ("auto", "strict", "none"):
        raise ValueError(f'`isolation` is {isolation!r}, but must be "auto", "strict" or "none".')
    if any(os.path.realpath(path) == "/" for path in readable):
        raise ValueError("`readable` holds the root folder: programs could read every file. Name the interpreter's.")
    hardening = Hardening()
    if not (sys.platform != "linux" if portable is None else portable):
        wanted = ("rlimits", "session") if isolation == "none" else tuple(STOPS)
        _apply(hardening, scratch, readable, wanted)
    else:
        hardening._attempt("rlimits", hardening._prepare_limits)
        hardening._attempt("session", lambda: None)
        for layer in STOPS.keys() - {"rlimits", "session"}:
            hardening._lack(layer, f"not made for {sys.platform}")
        hardening._try_out()
    if isolation == "strict" and hardening.missing:
        lacking = "; ".join(f"`{layer}`, which stops {what}" for layer, what in hardening.missing.items())
        raise IsolationUnavailable(
            f'`isolation` is "strict", but this system lacks {lacking}. Use "auto" to go on.',
            {layer: f"{what}: {FIXES[layer]}" for layer, what in hardening.missing.items()},
        )
    return hardening


def _apply(hardening: Hardening, scratch: str, readable: Sequence[str], wanted: Sequence[str]) -> None:
    kernel = hardening._kernel = _Kernel()
    before = [path for path in readable if os.access(path, os.R_OK)]
    # In this order: Landlock's rules may need root's eyes, its restriction and seccomp's need no_new_privs.
    steps: dict[str, Callable[[], None]] = {
        "rlimits": hardening._prepare_limits,
        "session": lambda: None,
        "death_signal": lambda: None,
        "subreaper": lambda: kernel.prctl(_PR_SET_CHILD_SUBREAPER, 1),
        "no_new_privs": lambda: kernel.prctl(_PR_SET_NO_NEW_PRIVS, 1),
        "landlock": lambda: hardening._make_ruleset(scratch, readable),
        "capabilities": hardening._drop_capabilities,
        "not_dumpable": lambda: kernel.prctl(_PR_SET_DUMPABLE, 0),
        "seccomp": hardening._make_filter,
    }
    for layer, action in steps.items():
        if layer in wanted:
            hardening._attempt(layer, action)
        else:
            hardening._lack(layer, "not asked for")
    hardening._try_out()
    if hardening.layers["seccomp"] and not hardening.layers["landlock"]:
        hardening._make_filter()  # again: the trial may be what found Landlock missing
    lost = [path for path in before if not os.access(path, os.R_OK)]
    if lost:
        raise IsolationUnavailable(
            f"{', '.join(lost)}: programs cannot read this without the powers of root, which they must not have. "
            'Run as the user who owns it, make it readable for all, or set `isolation` to "none".'
        )


def _machine() -> str:
    machine = platform.machine()
    if machine not in _ARCHITECTURES or sys.byteorder != "little" or sys.maxsize < 2**32:
        raise OSError(errno.ENOSYS, f"no table of system calls for {machine}")
    return machine


def _set_limit(kind: int, soft: int, hard: int | None = None) -> None:
    """Set a limit, never above the hard limit that is there."""
    wanted = soft if hard is None else hard
    _, ceiling = resource.getrlimit(kind)
    if ceiling != resource.RLIM_INFINITY:
        wanted = min(wanted, ceiling)
    resource.setrlimit(kind, (min(soft, wanted), wanted))
