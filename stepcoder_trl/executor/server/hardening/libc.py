"""Calls of the C library that Python does not have, with `OSError` for failures."""

from __future__ import annotations

import ctypes
import os
import sys
from contextlib import suppress


# From linux/prctl.h.
PR_SET_PDEATHSIG = 1
PR_SET_DUMPABLE = 4
PR_CAPBSET_DROP = 24
PR_SET_CHILD_SUBREAPER = 36
PR_SET_NO_NEW_PRIVS = 38
PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL = 47, 4

# From linux/socket.h.
AF_UNIX, SOCK_STREAM = 1, 1

_CAPABILITY_VERSION_3 = 0x20080522
_M_ARENA_MAX = -8

_libc = ctypes.CDLL(None, use_errno=True)
if sys.platform == "linux":  # other systems lack these
    _libc.syscall.argtypes = [ctypes.c_long] * 7
    _libc.syscall.restype = ctypes.c_long
    _libc.prctl.argtypes = [ctypes.c_int, *[ctypes.c_ulong] * 4]
    _libc.capset.argtypes = [ctypes.c_void_p, ctypes.c_void_p]


def syscall(number: int, *arguments: int) -> int:
    """Return the result of a system call, by number. Arguments that are left out are 0."""
    return _checked(_libc.syscall(number, *arguments, *[0] * (6 - len(arguments))))


def prctl(option: int, *arguments: int) -> None:
    """Change a property of the calling process. Arguments that are left out are 0."""
    _checked(_libc.prctl(option, *arguments, *[0] * (4 - len(arguments))))


def drop_capabilities() -> None:
    """Give up all capabilities, for good."""
    with suppress(OSError):  # beyond the last one; or without the right to do so, when there are none to drop
        for capability in range(64):
            prctl(PR_CAPBSET_DROP, capability)
    with suppress(OSError):  # kernels before 4.3
        prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL)
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
    no_sets = (ctypes.c_uint32 * 6)()
    _checked(_libc.capset(ctypes.addressof(header), ctypes.addressof(no_sets)))


def share_one_heap() -> None:
    """Let all threads allocate from one heap, where the C library is glibc."""
    with suppress(AttributeError):
        _libc.mallopt(_M_ARENA_MAX, 1)


def shrink_default_stack(max_bytes: int) -> None:
    """Give threads that ask for no stack size at most this many bytes, where the C library is glibc."""
    attributes = (ctypes.c_long * 16)()  # larger than `pthread_attr_t` on every architecture
    size = ctypes.c_size_t()
    with suppress(AttributeError):
        _libc.pthread_getattr_default_np(attributes)
        _libc.pthread_attr_getstacksize(attributes, ctypes.byref(size))
        if size.value > max_bytes:
            _libc.pthread_attr_setstacksize(attributes, ctypes.c_size_t(max_bytes))
            _libc.pthread_setattr_default_np(attributes)


def _checked(result: int) -> int:
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result
