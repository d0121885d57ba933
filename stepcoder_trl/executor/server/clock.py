"""Measure CPU and wall time of one child process against the limits of its tests and its program."""

from __future__ import annotations

import contextlib
import glob
import time
from dataclasses import dataclass, field

from stepcoder_trl.executor.server.examination import Examination
from stepcoder_trl.executor.wire.messages import STARVED_WALL_FACTOR
from stepcoder_trl.executor.wire.system import System


@dataclass
class Clock:
    """
    Clock of a child's current phase and of the program's remaining time, in seconds. A phase begins with the clock.

    The child's CPU clock is read from outside, so no program can change it. The CPU limit of a phase also limits the
    examiner.
    """

    system: System
    pid: int
    cpu_limit_s: float  # of a phase
    wall_limit_s: float
    program_cpu_s: float  # for the child in total
    program_wall_deadline: float  # monotonic, as is the next
    hard_deadline: float  # even if the machine was too busy to run the program
    examination: Examination
    started: float = field(default_factory=time.monotonic)
    cpu_start: float = 0.0
    wall_start: float = 0.0

    def __post_init__(self) -> None:
        self.begin()

    def now(self) -> float:
        """Return the monotonic time in seconds."""
        return time.monotonic()

    def cpu(self) -> float:
        """Return the CPU seconds since the child was forked."""
        return self.system.cpu_s(self.pid, self.started)

    def begin(self) -> float:
        """Begin a phase. Return the CPU seconds of the previous one."""
        now = self.cpu()
        used, self.cpu_start = now - self.cpu_start, now
        self.wall_start = time.monotonic()
        return max(used, 0.0)

    def begin_then(self, cpu_s: float, wall_s: float) -> None:
        """Begin a phase at a time that the child recorded, if it is plausible, else now."""
        cpu_s = self.system.cpu_then(cpu_s, wall_s, self.started)
        if self.cpu_start <= cpu_s <= self.cpu() and self.wall_start <= wall_s <= time.monotonic():
            self.cpu_start, self.wall_start = cpu_s, wall_s
        else:
            self.begin()

    def left_s(self) -> float:
        """Return the seconds until the limits must be checked again. Zero or negative if a limit is exceeded."""
        cpu, wall = self.cpu(), time.monotonic()
        wall_left = min(self.wall_limit_s - (wall - self.wall_start), self.program_wall_deadline - wall)
        if wall_left <= 0:
            phase_end = self.wall_start + STARVED_WALL_FACTOR * self.wall_limit_s
            wall_left = min(wall_left + self.waited_s(), phase_end - wall)
        return min(
            self.cpu_limit_s - (cpu - self.cpu_start),
            self.cpu_limit_s - self.examination.cpu_s(),
            self.program_cpu_s - cpu,
            wall_left,
            self.hard_deadline - wall,
        )

    def waited_s(self) -> float:
        """
        Return the seconds in which the program was ready to run but the machine was too busy.

        Wall limits are meant for programs that sleep, so a starved program gets this time in addition. The thread that
        waited longest counts, and the wait of the examiner is added. 0 if the kernel does not record it.
        """
        longest = 0
        for path in glob.iglob(f"/proc/{self.pid}/task/*/schedstat"):
            with contextlib.suppress(OSError, ValueError, IndexError), open(path) as account:
                longest = max(longest, int(account.read().split()[1]))
        return longest / 1e9 + self.examination.waited_s()
