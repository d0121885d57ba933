"""
How far a child has come, in memory that it shares with the fork server.

A message would wake the server, which costs both sides more than most programs take to run; a note is read when the
server is awake anyway. Notes are made before the code runs that could forge them, and what a program may still write
over them is taken for what it is, a claim.
"""

from __future__ import annotations

import mmap
import struct
import time


_MOMENT = struct.Struct("<dd")  # CPU seconds of the child and the monotonic clock; zeros where it has not come to
STEPS = ("compiled", "ready")
_process_time, _monotonic = time.process_time, time.monotonic


class Progress:
    """Moments at which a child passed each of `STEPS`. Make it before forking, `clear` it before every fork."""

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, _MOMENT.size * len(STEPS))

    def clear(self) -> None:
        """Forget the last child."""
        self._memory[:] = bytes(len(self._memory))

    def note(self, step: str) -> None:
        """In the child: remember that this step is done."""
        _MOMENT.pack_into(self._memory, _MOMENT.size * STEPS.index(step), _process_time(), _monotonic())

    def moment(self, step: str) -> tuple[float, float] | None:
        """In the server: CPU seconds and monotonic time at which the child was done with a step, `None` before."""
        cpu_s, wall_s = _MOMENT.unpack_from(self._memory, _MOMENT.size * STEPS.index(step))
        return (cpu_s, wall_s) if wall_s else None
