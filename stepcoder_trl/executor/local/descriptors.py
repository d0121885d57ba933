"""
Descriptors of this process's fork servers.

A process forked from this one must close its copies: a server ends when the last writer of its requests is gone, and a
pipe of replies ends only when its last writer is gone.
"""

from __future__ import annotations

import contextlib
import os


_open: set[int] = set()


def open_pipe() -> tuple[int, int]:
    """Open a pipe. Return the descriptors to read from and to write to."""
    read, write = os.pipe()
    return register(read), register(write)


def register(descriptor: int) -> int:
    """Register an open descriptor, and return it."""
    _open.add(descriptor)
    return descriptor


def close(descriptor: int) -> None:
    """Close a descriptor. Closing twice is allowed."""
    if descriptor in _open:
        _open.discard(descriptor)  # before it is closed, because another thread may get the same number at once
        os.close(descriptor)


def close_all() -> None:
    """Close all descriptors, in a process that was just forked."""
    for descriptor in tuple(_open):
        with contextlib.suppress(OSError):
            close(descriptor)
