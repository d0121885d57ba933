"""
Parts of `multiprocessing` that work in one process without a file in `/dev/shm`, which programs must not have.

Thread pools, locks, queues, values and arrays of `multiprocessing` need them. A program cannot start processes, so
threads are all that share them.
"""

from __future__ import annotations

import sys
import threading
from types import ModuleType


RECURSIVE_MUTEX, SEMAPHORE = 0, 1  # kinds, as in `multiprocessing.synchronize`


class SemLock:
    """Semaphore or recursive lock with the interface of `_multiprocessing.SemLock`, for the threads of one process."""

    SEM_VALUE_MAX = 2**31 - 1
    handle = 0
    name = None  # no process can open it

    def __init__(self, kind: int, value: int, maxvalue: int, name: str, unlink: bool) -> None:
        if kind not in (RECURSIVE_MUTEX, SEMAPHORE):
            raise ValueError("unrecognized kind")
        self.kind = kind
        self.maxvalue = maxvalue
        self._semaphore = threading.Semaphore(value)
        self._acquired = 0
        self._owner = 0

    def acquire(self, block: bool = True, timeout: float | None = None) -> bool:
        """Return whether the semaphore was acquired."""
        if self.kind == RECURSIVE_MUTEX and self._is_mine():
            self._acquired += 1
            return True
        wait = max(timeout, 0) if block and timeout is not None else None
        if not self._semaphore.acquire(bool(block), wait):
            return False
        self._owner = threading.get_ident()  # first: the last owner must not find its own name beside our count
        self._acquired += 1
        return True

    def release(self) -> None:
        """Release the semaphore. Raise ValueError or AssertionError if it was not acquired."""
        if self.kind == RECURSIVE_MUTEX:
            if not self._is_mine():
                raise AssertionError("attempt to release recursive lock not owned by thread")
            if self._acquired > 1:
                self._acquired -= 1
                return
        elif self._get_value() >= self.maxvalue:
            raise ValueError("semaphore or lock released too many times")
        self._acquired -= 1
        self._semaphore.release()

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(self, *raised: object) -> None:
        self.release()

    def _count(self) -> int:
        return self._acquired

    def _is_mine(self) -> bool:
        return self._acquired > 0 and self._owner == threading.get_ident()

    def _get_value(self) -> int:
        return self._semaphore._value

    def _is_zero(self) -> bool:
        return self._get_value() == 0

    def _after_fork(self) -> None:
        self._acquired = 0


class BufferWrapper:
    """Memory of a value or array, with the interface of `multiprocessing.heap.BufferWrapper`."""

    def __init__(self, size: int) -> None:
        if size < 0:
            raise ValueError(f"Size {size:n} out of range")
        self._memory = bytearray(size)

    def create_memoryview(self) -> memoryview:
        """Return the memory."""
        return memoryview(self._memory)


def install() -> None:
    """Put these parts in the place of their modules. `multiprocessing` itself is neither loaded nor changed."""
    semaphores = ModuleType("_multiprocessing")
    semaphores.__dict__.update(SemLock=SemLock, sem_unlink=lambda name: None, flags={})
    heap = ModuleType("multiprocessing.heap")
    heap.__dict__.update(BufferWrapper=BufferWrapper)
    for module in (semaphores, heap):
        sys.modules[module.__name__] = module
