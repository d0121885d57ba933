"""Landlock rules: which files a program can read and write."""

from __future__ import annotations

import ctypes
import os
import stat
from collections.abc import Sequence
from contextlib import suppress

from stepcoder_trl.executor.server.hardening.libc import syscall


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

# Numbers of the system calls, the same on every architecture.
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446

_FS_EXECUTE, _FS_WRITE_FILE, _FS_READ_FILE, _FS_READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
_FS_MAKE_CHAR, _FS_MAKE_SOCK, _FS_MAKE_BLOCK = 1 << 6, 1 << 9, 1 << 11
_FS_TRUNCATE, _FS_IOCTL_DEV = 1 << 14, 1 << 15
_FS_ON_FILES = _FS_WRITE_FILE | _FS_READ_FILE | _FS_TRUNCATE
_NOT_IN_SCRATCH = _FS_EXECUTE | _FS_MAKE_CHAR | _FS_MAKE_BLOCK | _FS_MAKE_SOCK | _FS_IOCTL_DEV
_NET_TCP = 0b11  # bind, connect
_SCOPED = 0b11  # abstract unix sockets, signals
_LOG_SAME_EXEC_OFF = 1 << 0
_ASK_FOR_VERSION = 1 << 0
_RULE_PATH_BENEATH = 1


class _RulesetAttr(ctypes.Structure):
    """`struct landlock_ruleset_attr`."""

    _fields_ = (("fs", ctypes.c_uint64), ("net", ctypes.c_uint64), ("scoped", ctypes.c_uint64))


class _PathBeneathAttr(ctypes.Structure):
    """`struct landlock_path_beneath_attr`, which is packed: only the padding at its end is left out there."""

    _fields_ = (("allowed", ctypes.c_uint64), ("parent_fd", ctypes.c_int32))


def kernel_version() -> int:
    """Return the version of Landlock in the kernel, 1 or higher. Raise OSError if there is none."""
    return syscall(_CREATE_RULESET, 0, 0, _ASK_FOR_VERSION)


class Ruleset:
    """
    Landlock rules, made once in the fork server and put on by each child. Programs may also read the system's files.

    They do not confine the server itself, which has to empty the scratch folder. Creation raises OSError if the kernel
    has no Landlock, or the scratch folder cannot be opened.
    """

    def __init__(self, scratch: str, readable: Sequence[str]) -> None:
        self._version = kernel_version()
        handled = _handled_fs(self._version)
        attr = _RulesetAttr(handled, _NET_TCP if self._version >= 4 else 0, _SCOPED if self._version >= 6 else 0)
        size = 8 if self._version < 4 else 16 if self._version < 6 else 24
        self._fd = syscall(_CREATE_RULESET, ctypes.addressof(attr), size, 0)
        self._allow(scratch, handled & ~_NOT_IN_SCRATCH)
        for path in (*readable, *_SYSTEM_PATHS):
            self._allow_if_there(path, (_FS_READ_FILE | _FS_READ_DIR) & handled)
        for path in _WRITABLE_DEVICES:
            self._allow_if_there(path, _FS_ON_FILES & handled)

    def restrict_self(self) -> None:
        """Put the rules on the calling process, for good."""
        flags = _LOG_SAME_EXEC_OFF if self._version >= 7 else 0  # a denied access is no news for the audit log
        syscall(_RESTRICT_SELF, self._fd, flags)
        os.close(self._fd)

    def _allow_if_there(self, path: str, access: int) -> None:
        with suppress(FileNotFoundError, NotADirectoryError, PermissionError):
            self._allow(path, access)

    def _allow(self, path: str, access: int) -> None:
        descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
        try:
            if not stat.S_ISDIR(os.fstat(descriptor).st_mode):
                access &= _FS_ON_FILES
            rule = _PathBeneathAttr(access, descriptor)
            syscall(_ADD_RULE, self._fd, _RULE_PATH_BENEATH, ctypes.addressof(rule), 0)
        finally:
            os.close(descriptor)


def _handled_fs(version: int) -> int:
    """Return every access to files that this version of Landlock can deny."""
    highest = 12 if version < 2 else 13 if version < 3 else 14 if version < 5 else 15
    return (1 << (highest + 1)) - 1
