"""CPU and wall time of one child, against the limits of its tests and of its program."""

from __future__ import annotations

import contextlib
import glob
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from stepcoder_trl.executor.protocol import STARVED_WALL_FACTOR
from stepcoder_trl.executor.system import System


@dataclass
class Clock:
    """
    Time of the running phase of one child, and what is left of the program's budget.

    Attributes:
        system (`System`): Reads the child's CPU clock from outside, so that no program can move it.
        pid (`int`): The child.
        cpu_limit_s, wall_limit_s (`float`): Seconds of a phase.
        program_cpu_s (`float`): CPU seconds that the child may use in all.
        program_wall_deadline (`float`): Monotonic time at which the program's wall time is over.
        hard_deadline (`float`): The same, however long the machine kept the program waiting.
        waited_elsewhere_s (`Callable`): Seconds that a process was kept waiting for which the child waited.
    """

    system: System
    pid: int
    cpu_limit_s: float
    wall_limit_s: float
    program_cpu_s: float
    program_wall_deadline: float
    hard_deadline: float
    waited_elsewhere_s: Callable[[], float]
    started: float = field(default_factory=time.monotonic)
    cpu_start: float = 0.0
    wall_start: float = 0.0

    def cpu(self) -> float:
        """CPU seconds since the child was forked."""
        return self.system.cpu_s(self.pid, self.started)

    def begin(self) -> float:
        """Begin a phase; returns the CPU seconds of the one that ended."""
        now = self.cpu()
        used, self.cpu_start = now - self.cpu_start, now
        self.wall_start = time.monotonic()
        return max(used, 0.0)

    def begin_then(self, cpu_s: float, wall_s: float) -> None:
        """Begin a phase at a moment that the child noted, if that can be true."""
        cpu_s = self.system.cpu_then(cpu_s, wall_s, self.started)
        if self.cpu_start <= cpu_s <= self.cpu() and self.wall_start <= wall_s <= time.monotonic():
            self.cpu_start, self.wall_start = cpu_s, wall_s
        else:
            self.begin()

    def left_s(self) -> float:
        """Seconds that may pass before the limits must be looked at again; not positive when one has passed."""
        cpu, wall = self.cpu(), time.monotonic()
        wall_left = min(self.wall_limit_s - (wall - self.wall_start), self.program_wall_deadline - wall)
        if wall_left <= 0:
            phase_end = self.wall_start + STARVED_WALL_FACTOR * self.wall_limit_s
            wall_left = min(wall_left + self.waited_s(), phase_end - wall)
        return min(
            self.cpu_limit_s - (cpu - self.cpu_start), self.program_cpu_s - cpu, wall_left, self.hard_deadline - wall
        )

    def waited_s(self) -> float:
        """
        Seconds in which the machine was too busy to run the program although it could have run.

        Wall limits are for sleepers: a program that was kept waiting gets this time on top. Of the running threads the
        one counts that waited longest; 0 where the kernel does not keep account. So does what its examiner waited.
        """
        longest = 0
        for path in glob.iglob(f"/proc/{self.pid}/task/*/schedstat"):
            with contextlib.suppress(OSError, ValueError, IndexError), open(path) as account:
                longest = max(longest, int(account.read().split()[1]))
        return longest / 1e9 + self.waited_elsewhere_s()
