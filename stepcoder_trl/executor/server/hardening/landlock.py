"""Landlock rules: which files a program can read and write."""

from __future__ import annotations

import ctypes
import os
import stat
from collections.abc import Sequence
from pathlib import Path

from stepcoder_trl.executor.server.hardening.libc import syscall


# Read-only besides the folders of the interpreter and of libraries.
_SYSTEM_PATHS = (
    *("/etc/ld.so.cache", "/etc/ld.so.conf", "/etc/ld.so.conf.d", "/etc/ld.so.preload"),
    *("/etc/localtime", "/etc/timezone", "/usr/share/zoneinfo", "/etc/zoneinfo"),
    *("/etc/locale.alias", "/usr/share/locale", "/usr/share/i18n"),
    *("/etc/mime.types", "/etc/os-release", "/etc/ssl/openssl.cnf", "/etc/pki/tls/openssl.cnf"),
    *("/proc/cpuinfo", "/proc/meminfo", "/proc/sys/vm/overcommit_memory", "/sys/devices/system/cpu"),
    *("/dev/urandom", "/dev/random", "/dev/zero"),
)
# End of the path of a folder whose files cannot be read. Names in it and below it can.
ONLY_LISTED = "/."
_WRITABLE_DEVICES = ("/dev/null", "/dev/full")

# Numbers of the system calls, the same on every architecture.
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446

_FS_EXECUTE, _FS_WRITE_FILE, _FS_READ_FILE, _FS_READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
_FS_MAKE_CHAR, _FS_MAKE_SOCK, _FS_MAKE_BLOCK = 1 << 6, 1 << 9, 1 << 11
_FS_TRUNCATE, _FS_IOCTL_DEV = 1 << 14, 1 << 15
_FS_ON_FILES = _FS_WRITE_FILE | _FS_READ_FILE | _FS_TRUNCATE
_FS_READ = _FS_READ_FILE | _FS_READ_DIR
_NOBODY_MAY = _FS_EXECUTE | _FS_MAKE_CHAR | _FS_MAKE_BLOCK | _FS_MAKE_SOCK | _FS_IOCTL_DEV
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
    Landlock rules, made once in the fork server and put on by each child. Programs also read the system's settings.

    They do not confine the server itself, which has to empty the folders below `base`. Creation raises OSError if the
    kernel has no Landlock, or `base` cannot be opened.

    There are two sets, and a child may do what both allow. The large one is made here. It names each file or folder
    that can be read, and lets a child do anything below `base`. The small one is made in each child. It lets the child
    change its own folder alone, and read what lies outside `base`. So it needs few rules: it names only the highest
    folders that hold something readable, but not `base`.
    """

    def __init__(self, base: str, readable: Sequence[str]) -> None:
        version = kernel_version()
        handled = _handled_fs(version)
        attr = _RulesetAttr(handled, _NET_TCP if version >= 4 else 0, _SCOPED if version >= 6 else 0)
        size = 8 if version < 4 else 16 if version < 6 else 24
        self._all_in_folder = handled & ~_NOBODY_MAY
        self._flags = _LOG_SAME_EXEC_OFF if version >= 7 else 0  # a denied access is no news for the audit log
        self._large = syscall(_CREATE_RULESET, ctypes.addressof(attr), size, 0)
        self._small_attr = _RulesetAttr(self._all_in_folder, 0, 0)
        self._folder_rule = _PathBeneathAttr(self._all_in_folder, -1)
        _allow(self._large, base, self._all_in_folder)
        found = [path for path in (*readable, *_SYSTEM_PATHS) if _allow_if_there(self._large, path, _reading(path))]
        devices = [path for path in _WRITABLE_DEVICES if _allow_if_there(self._large, path, _FS_ON_FILES & handled)]
        self._small_rules = [_rule(path, _FS_READ) for path in _outside(base, found)]
        self._small_rules += [_rule(path, _FS_ON_FILES & handled) for path in devices]

    def restrict_self(self, folder: str) -> None:
        """
        Put the rules on the calling process, for good. It may change `folder` alone, or nothing if that is "".

        Objects that were made before the fork are used again: a new one costs a copied page.
        """
        small = syscall(_CREATE_RULESET, ctypes.addressof(self._small_attr), 8, 0)
        rules = self._small_rules
        if folder:
            self._folder_rule.parent_fd = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            rules = [*rules, self._folder_rule]
        for rule in rules:
            syscall(_ADD_RULE, small, _RULE_PATH_BENEATH, ctypes.addressof(rule), 0)
            os.close(rule.parent_fd)
        # The small one first: the second call copies the rules of the first.
        for ruleset in (small, self._large):
            syscall(_RESTRICT_SELF, ruleset, self._flags)
            os.close(ruleset)


def _reading(path: str) -> int:
    return _FS_READ_DIR if path.endswith(ONLY_LISTED) else _FS_READ


def _outside(base: str, paths: Sequence[str]) -> list[str]:
    """Return the highest folders or files that hold these paths, but do not hold `base`."""
    above = Path(base).resolve()
    found = set()
    for path in paths:
        resolved = Path(path).resolve()
        lineage = [*reversed(resolved.parents), resolved]
        found.add(str(next((folder for folder in lineage if not above.is_relative_to(folder)), resolved)))
    return sorted(found)


def _rule(path: str, access: int) -> _PathBeneathAttr:
    """Return a rule for everything beneath a path, which it holds open."""
    descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    is_folder = stat.S_ISDIR(os.fstat(descriptor).st_mode)
    return _PathBeneathAttr(access if is_folder else access & _FS_ON_FILES, descriptor)


def _allow(ruleset: int, path: str, access: int) -> None:
    rule = _rule(path, access)
    try:
        syscall(_ADD_RULE, ruleset, _RULE_PATH_BENEATH, ctypes.addressof(rule), 0)
    finally:
        os.close(rule.parent_fd)


def _allow_if_there(ruleset: int, path: str, access: int) -> bool:
    """Return whether there is such a path, after a rule for it was added."""
    try:
        _allow(ruleset, path, access)
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return False
    return True


def _handled_fs(version: int) -> int:
    """Return every access to files that this version of Landlock can deny."""
    highest = 12 if version < 2 else 13 if version < 3 else 14 if version < 5 else 15
    return (1 << (highest + 1)) - 1
