"""
Isolation layers for a forked child, without root and in plain containers.

Everything costly is prepared once in the fork server: the Landlock ruleset, the seccomp program, the measurements. The
child then applies the layers in some tens of microseconds. What a layer is for stands in `STOPS`; a machine that lacks
one says so. None of this is a boundary against bugs of the kernel.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import platform
import resource
import signal
import struct
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field


STOPS = {
    "rlimits": "memory bombs, full disks, endless CPU use",
    "session": "children that outlive the program",
    "death_signal": "programs that outlive their fork server",
    "subreaper": "daemons that a program leaves behind",
    "no_new_privs": "gaining rights through setuid files",
    "capabilities": "mounting, tracing and other rights of root",
    "not_dumpable": "reading and changing the fork server's memory",
    "seccomp": "fork bombs, other programs, sockets, signals to other processes, lifted limits",
    "landlock": "reading and writing files outside the program's folder",
}

_PR_SET_PDEATHSIG = 1
_PR_SET_DUMPABLE = 4
_PR_SET_SECCOMP = 22
_PR_SET_CHILD_SUBREAPER = 36
_PR_SET_NO_NEW_PRIVS = 38
_SECCOMP_MODE_FILTER = 2
_CAPABILITY_VERSION_3 = 0x20080522

_LANDLOCK_CREATE_RULESET, _LANDLOCK_ADD_RULE, _LANDLOCK_RESTRICT_SELF = 444, 445, 446
_READ_FILE, _READ_DIR, _WRITE_FILE = 1 << 2, 1 << 3, 1 << 1
_TRUNCATE = 1 << 14
_SYSTEM_PATHS = (
    *("/usr/lib", "/usr/lib64", "/usr/local/lib", "/lib", "/lib64", "/etc/ld.so.cache", "/etc/localtime"),
    *("/usr/share/zoneinfo", "/usr/share/locale", "/dev/urandom", "/dev/random", "/dev/zero"),
)
_WRITABLE_DEVICES = ("/dev/null",)

# Numbers of the system calls that a program may not make: (x86-64, aarch64), None where there is no such call.
_DENIED: dict[str, tuple[int | None, int | None]] = {
    "fork": (57, None), "vfork": (58, None), "execve": (59, 221), "execveat": (322, 281),
    "socket": (41, 198), "connect": (42, 203), "bind": (49, 200), "listen": (50, 201), "accept": (43, 202),
    "accept4": (288, 242), "ptrace": (101, 117), "process_vm_readv": (310, 270), "process_vm_writev": (311, 271),
    "process_madvise": (440, 440), "kcmp": (312, 272), "pidfd_getfd": (438, 438), "pidfd_send_signal": (424, 424),
    "tkill": (200, 130), "rt_sigqueueinfo": (129, 138), "rt_tgsigqueueinfo": (297, 240),
    "unshare": (272, 97), "setns": (308, 268), "mount": (165, 40), "umount2": (166, 39), "chroot": (161, 51),
    "pivot_root": (155, 41), "move_mount": (429, 429), "fsopen": (430, 430), "fsmount": (432, 432),
    "fspick": (433, 433), "open_tree": (428, 428), "mount_setattr": (442, 442), "bpf": (321, 280),
    "perf_event_open": (298, 241), "keyctl": (250, 219), "add_key": (248, 217), "request_key": (249, 218),
    "shmget": (29, 194), "shmat": (30, 196), "shmctl": (31, 195), "semget": (64, 190), "semctl": (66, 191),
    "msgget": (68, 186), "msgsnd": (69, 189), "mq_open": (240, 180), "memfd_create": (319, 279),
    "setuid": (105, 146), "setgid": (106, 144), "setreuid": (113, 145), "setregid": (114, 143),
    "setgroups": (116, 159), "setresuid": (117, 147), "setresgid": (119, 149), "setfsuid": (122, 151),
    "setfsgid": (123, 152), "reboot": (169, 142), "kexec_load": (246, 104), "kexec_file_load": (320, 294),
    "init_module": (175, 105), "finit_module": (313, 273), "delete_module": (176, 106),
    "io_uring_setup": (425, 425), "io_uring_enter": (426, 426), "io_uring_register": (427, 427),
    "userfaultfd": (323, 282), "personality": (135, 92), "name_to_handle_at": (303, 264),
    "open_by_handle_at": (304, 265), "fanotify_init": (300, 262), "setsid": (112, 157), "setpgid": (109, 154),
    "seccomp": (317, 277), "settimeofday": (164, 170), "clock_settime": (227, 112), "sethostname": (170, 161),
    "setdomainname": (171, 162), "quotactl": (179, 60), "syslog": (103, 116), "acct": (163, 89),
    "swapon": (167, 224), "swapoff": (168, 225), "mlockall": (151, 230), "sched_setscheduler": (144, 119),
    "sched_setparam": (142, 118), "sched_setattr": (314, 274), "sched_setaffinity": (203, 122),
    "ioprio_set": (251, 30), "mbind": (237, 235), "set_mempolicy": (238, 237), "migrate_pages": (256, 238),
    "move_pages": (279, 239), "iopl": (172, None), "ioperm": (173, None), "modify_ldt": (154, None),
}  # fmt: skip
_CLONE, _CLONE3, _KILL, _TGKILL, _PRCTL = (56, 220), (435, 435), (62, 129), (234, 131), (157, 167)
_SETRLIMIT, _PRLIMIT64 = (160, 164), (302, 261)
_CLONE_THREAD = 0x10000
_ARCHITECTURES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}

_ALLOW, _KILL_PROCESS, _ERRNO = 0x7FFF0000, 0x80000000, 0x00050000
_LOAD, _JUMP_EQUAL, _JUMP_AT_LEAST, _AND, _RETURN = 0x20, 0x15, 0x35, 0x54, 0x06
_NUMBER, _ARCHITECTURE, _ARGUMENTS = 0, 4, 16  # offsets in struct seccomp_data


class IsolationUnavailable(RuntimeError):
    """Raised under `isolation="strict"` when a layer is missing."""


class _Instruction(ctypes.Structure):
    _fields_ = (("code", ctypes.c_ushort), ("jt", ctypes.c_ubyte), ("jf", ctypes.c_ubyte), ("k", ctypes.c_uint32))


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.POINTER(_Instruction)))


@dataclass
class Hardening:
    """
    Layers of one fork server, prepared for its children.

    Attributes:
        layers (`dict[str, bool]`): Layer by name, and whether it is in force.
        soft_signal (`int`): Signal by which the server announces a time limit; no ordinary program uses it.
    """

    layers: dict[str, bool]
    soft_signal: int
    _own_bytes: int = 0
    _ruleset: int | None = None
    _filter: _Program | None = None
    _instructions: ctypes.Array[_Instruction] | None = None
    _pid_slots: list[int] = field(default_factory=list)

    @property
    def missing(self) -> dict[str, str]:
        """Layers that are not in force, and what each would have stopped."""
        return {name: STOPS[name] for name, there in self.layers.items() if not there}

    def enter_child(
        self, *, memory_limit_bytes: int, cpu_limit_s: int, file_limit_bytes: int, open_files: int
    ) -> None:
        """
        Put all layers in force in the calling process, a fresh fork of the server.

        Args:
            memory_limit_bytes (`int`): Address space on top of the server's own.
            cpu_limit_s (`int`): CPU seconds after which the kernel kills.
            file_limit_bytes (`int`): Size of the largest file.
            open_files (`int`): Descriptors.

        Raises:
            OSError: If a layer that was there a moment ago refuses.
        """
        os.setsid()
        if self.layers["death_signal"]:
            _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if self.layers["not_dumpable"]:
            _prctl(_PR_SET_DUMPABLE, 1)  # the child's own /proc/self/fd must open; seccomp keeps tracers away
        limits = (
            (resource.RLIMIT_AS, self._own_bytes + memory_limit_bytes),
            (resource.RLIMIT_CPU, cpu_limit_s),
            (resource.RLIMIT_FSIZE, file_limit_bytes),
            (resource.RLIMIT_NOFILE, open_files),
            (resource.RLIMIT_CORE, 0),
        )
        for kind, value in limits:
            hard = resource.getrlimit(kind)[1]
            value = value if hard == resource.RLIM_INFINITY else min(value, hard)
            resource.setrlimit(kind, (value, value))
        if self._ruleset is not None:
            _check(_libc().syscall(_LANDLOCK_RESTRICT_SELF, self._ruleset, 0), "landlock_restrict_self")
            os.close(self._ruleset)
        if self._filter is not None and self._instructions is not None:
            pid = os.getpid()
            for slot in self._pid_slots:
                self._instructions[slot].k = pid
            _prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.addressof(self._filter))


def prepare(*, scratch: str, readable: Sequence[str], isolation: str) -> Hardening:
    """
    Harden the fork server itself and prepare the layers of its children. Call it once, before any fork.

    Args:
        scratch (`str`): Folder that programs may write to.
        readable (`Sequence[str]`): Files and folders that programs may read, beside the system's libraries.
        isolation (`str`): `"auto"`, `"strict"` or `"none"`.

    Returns:
        `Hardening`: What is in force.

    Raises:
        IsolationUnavailable: Under `"strict"`, if a layer is missing; the message names each.
    """
    layers = dict.fromkeys(STOPS, False) | {"rlimits": True, "session": True}
    hardening = Hardening(layers, _soft_signal(), _address_space())
    if isolation == "none" or sys.platform != "linux":
        return _strict(hardening, isolation)
    layers["death_signal"] = True
    layers["subreaper"] = _try(lambda: _prctl(_PR_SET_CHILD_SUBREAPER, 1))
    layers["not_dumpable"] = _try(lambda: _prctl(_PR_SET_DUMPABLE, 0))
    layers["no_new_privs"] = _try(lambda: _prctl(_PR_SET_NO_NEW_PRIVS, 1))
    layers["capabilities"] = _try(_drop_capabilities)
    if layers["no_new_privs"]:
        with contextlib.suppress(OSError):
            hardening._ruleset = _landlock_ruleset(scratch, readable)
            layers["landlock"] = True
        with contextlib.suppress(OSError, KeyError):
            _build_filter(hardening)
            layers["seccomp"] = _filter_works(hardening)
    return _strict(hardening, isolation)


def _strict(hardening: Hardening, isolation: str) -> Hardening:
    if isolation == "strict" and hardening.missing:
        listed = "; ".join(f"{name} (stops {stops})" for name, stops in hardening.missing.items())
        raise IsolationUnavailable(f"Sandbox layers are missing: {listed}. Use isolation='auto' to run without them.")
    return hardening


def _soft_signal() -> int:
    return signal.SIGRTMAX - 1 if hasattr(signal, "SIGRTMAX") else signal.SIGUSR2


def _address_space() -> int:
    try:
        with open("/proc/self/statm") as statm:
            return int(statm.read().split()[0]) * resource.getpagesize()
    except OSError:
        return 2**30


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _check(result: int, call: str) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{call}: {os.strerror(number)}")
    return result


def _prctl(option: int, argument: int, extra: int = 0) -> None:
    values = (ctypes.c_ulong(argument), ctypes.c_ulong(extra), ctypes.c_ulong(0), ctypes.c_ulong(0))
    _check(_libc().prctl(option, *values), "prctl")


def _try(action: object) -> bool:
    try:
        action()  # type: ignore[operator]
    except OSError:
        return False
    return True


def _drop_capabilities() -> None:
    header = struct.pack("=Ii", _CAPABILITY_VERSION_3, 0)
    _check(_libc().capset(header, bytes(24)), "capset")


def _landlock_ruleset(scratch: str, readable: Sequence[str]) -> int:
    """Ruleset for children: read libraries, write the scratch folder, nothing else, no TCP, no signals to others."""
    libc = _libc()
    version = _check(libc.syscall(_LANDLOCK_CREATE_RULESET, None, 0, 1), "landlock_create_ruleset")
    handled = (1 << 13) - 1
    handled |= sum(1 << bit for abi, bit in ((2, 13), (3, 14), (5, 15)) if version >= abi)
    attributes = struct.pack("=QQQ", handled, 0b11 if version >= 4 else 0, 0b11 if version >= 6 else 0)
    size = 8 if version < 4 else 16 if version < 6 else 24
    ruleset = _check(libc.syscall(_LANDLOCK_CREATE_RULESET, attributes, size, 0), "landlock_create_ruleset")
    for path in {*_SYSTEM_PATHS, *readable}:
        _allow_path(ruleset, path, _READ_FILE | _READ_DIR)
    for path in _WRITABLE_DEVICES:
        _allow_path(ruleset, path, (_READ_FILE | _WRITE_FILE | _TRUNCATE) & handled)
    _allow_path(ruleset, scratch, handled & ~1)  # all but executing
    return ruleset


def _allow_path(ruleset: int, path: str, access: int) -> None:
    try:
        descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        if not os.path.isdir(path):
            access &= _READ_FILE | _WRITE_FILE | _TRUNCATE
        rule = struct.pack("=Qi", access, descriptor)
        _check(_libc().syscall(_LANDLOCK_ADD_RULE, ruleset, 1, rule, 0), "landlock_add_rule")
    finally:
        os.close(descriptor)


def _build_filter(hardening: Hardening) -> None:
    """Seccomp program: everything is allowed but what is listed. The child's pid is filled in after the fork."""
    column, architecture = _ARCHITECTURES[platform.machine()]
    refuse, pretend = _ERRNO | errno.EPERM, _ERRNO
    lines: list[tuple[int, int, int, int]] = [
        (_LOAD, 0, 0, _ARCHITECTURE),
        (_JUMP_EQUAL, 1, 0, architecture),
        (_RETURN, 0, 0, _KILL_PROCESS),
        (_LOAD, 0, 0, _NUMBER),
        (_JUMP_AT_LEAST, 0, 1, 0x40000000),  # the x32 interface has other numbers
        (_RETURN, 0, 0, refuse),
    ]

    def when(number: int, body: list[tuple[int, int, int, int]]) -> None:
        lines.append((_JUMP_EQUAL, 0, len(body), number))
        lines.extend(body)

    def low(argument: int) -> int:
        return _ARGUMENTS + 8 * argument  # little-endian: the low word comes first

    when(_CLONE[column], [
        (_LOAD, 0, 0, low(0)), (_AND, 0, 0, _CLONE_THREAD), (_JUMP_EQUAL, 1, 0, _CLONE_THREAD),
        (_RETURN, 0, 0, refuse), (_RETURN, 0, 0, _ALLOW),
    ])  # fmt: skip
    when(_CLONE3[column], [(_RETURN, 0, 0, _ERRNO | errno.ENOSYS)])  # its flags are in memory; libc falls back to clone
    for call in (_KILL, _TGKILL):
        hardening._pid_slots.append(len(lines) + 2)
        when(call[column], [
            (_LOAD, 0, 0, low(0)), (_JUMP_EQUAL, 0, 1, 0), (_RETURN, 0, 0, _ALLOW), (_RETURN, 0, 0, refuse),
        ])  # fmt: skip
    # Limits: correct programs set them, so it succeeds, without effect. Reading them works.
    when(_SETRLIMIT[column], [(_RETURN, 0, 0, pretend)])
    when(_PRLIMIT64[column], [
        (_LOAD, 0, 0, low(2)), (_JUMP_EQUAL, 0, 3, 0), (_LOAD, 0, 0, low(2) + 4), (_JUMP_EQUAL, 0, 1, 0),
        (_RETURN, 0, 0, _ALLOW), (_RETURN, 0, 0, pretend),
    ])  # fmt: skip
    own = (_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_SET_SECCOMP, _PR_SET_CHILD_SUBREAPER)
    checks = [(_JUMP_EQUAL, len(own) - index, 0, option) for index, option in enumerate(own)]
    when(_PRCTL[column], [(_LOAD, 0, 0, low(0)), *checks, (_RETURN, 0, 0, _ALLOW), (_RETURN, 0, 0, refuse)])
    for numbers in _DENIED.values():
        number = numbers[column]
        if number is not None:
            when(number, [(_RETURN, 0, 0, refuse)])
    lines.append((_RETURN, 0, 0, _ALLOW))
    instructions = (_Instruction * len(lines))(*(_Instruction(*line) for line in lines))
    hardening._instructions = instructions
    hardening._filter = _Program(len(lines), ctypes.cast(instructions, ctypes.POINTER(_Instruction)))


def _filter_works(hardening: Hardening) -> bool:
    """Try the filter in a child: a container may forbid installing one."""
    pid = os.fork()
    if pid == 0:
        try:
            _prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.addressof(hardening._filter))  # type: ignore[arg-type]
            os._exit(0)
        except BaseException:
            os._exit(1)
    works = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    if not works:
        hardening._filter = None
    return works
