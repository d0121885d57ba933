"""Make a message queue and a semaphore of this user, which no program may touch."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass


_PRIVATE, _CREATE, _NO_WAIT, _REMOVE = 0, 0o1600, 0o4000, 0
_GET_VALUE, _SET_VALUE = 12, 16  # of a semaphore
_MESSAGE_BYTES = 8


@dataclass(frozen=True)
class Bait:
    """Numbers of a semaphore whose value is 1, and of a queue that holds one message. -1 where it cannot be made."""

    semaphore: int
    queue: int

    def touched(self) -> Iterator[str]:
        """Describe what somebody has done with them."""
        libc = ctypes.CDLL(None)
        if self.semaphore >= 0 and libc.semctl(self.semaphore, 0, _GET_VALUE, 0) != 1:
            yield "the semaphore of another process was taken"
        size = ctypes.c_size_t(_MESSAGE_BYTES)
        message = ctypes.create_string_buffer(ctypes.sizeof(ctypes.c_long) + _MESSAGE_BYTES)
        if self.queue >= 0 and libc.msgrcv(self.queue, message, size, ctypes.c_long(0), _NO_WAIT) != _MESSAGE_BYTES:
            yield "the message of another process was read"


@contextmanager
def bait() -> Iterator[Bait]:
    """Make the bait, and remove it afterwards."""
    libc = ctypes.CDLL(None)
    made = Bait(libc.semget(_PRIVATE, 1, _CREATE), libc.msgget(_PRIVATE, _CREATE))
    message = bytes(ctypes.c_long(1)) + bytes(_MESSAGE_BYTES)  # its type, and its text
    if made.semaphore >= 0:
        libc.semctl(made.semaphore, 0, _SET_VALUE, 1)
    if made.queue >= 0:
        libc.msgsnd(made.queue, message, ctypes.c_size_t(_MESSAGE_BYTES), _NO_WAIT)
    try:
        yield made
    finally:
        if made.semaphore >= 0:
            libc.semctl(made.semaphore, 0, _REMOVE, 0)
        if made.queue >= 0:
            libc.msgctl(made.queue, _REMOVE, None)
