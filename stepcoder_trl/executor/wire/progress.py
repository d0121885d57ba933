"""
Record the progress of a child in memory that it shares with the fork server.

A message would wake the server, which takes longer than most programs run. The server reads the memory when it is
awake anyway. A child gives up the memory of its first steps before the program runs, so the program cannot change
them. It may overwrite the memory of later steps, which the server treats as claims.
"""

from __future__ import annotations

import mmap
import struct
import time


_MOMENT = struct.Struct("<dd")  # CPU seconds of the child and monotonic time; zeros if the step is not done
STEPS = ("confined", "compiled", "ready")
_process_time, _monotonic = time.process_time, time.monotonic


class Progress:
    """
    Times at which a child finished each of `STEPS`. Create it once. Call `clear` before a child gets its job.

    It is a whole page: a program reaches all of the page, and must not leave anything there for the next one.
    """

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, mmap.PAGESIZE)

    def clear(self) -> None:
        """Delete the record of the last child, and all that it left."""
        self._memory[:] = bytes(len(self._memory))

    def close(self) -> None:
        """Give up the memory in this process. No code of this process can change the record any more."""
        self._memory.close()

    def note(self, step: str) -> None:
        """Record in the child that a step is done."""
        _MOMENT.pack_into(self._memory, _MOMENT.size * STEPS.index(step), _process_time(), _monotonic())

    def moment(self, step: str) -> tuple[float, float] | None:
        """Return CPU seconds and monotonic time at which the child finished a step. `None` if it has not."""
        cpu_s, wall_s = _MOMENT.unpack_from(self._memory, _MOMENT.size * STEPS.index(step))
        return (cpu_s, wall_s) if wall_s else None
