"""State of one job: results, lines, and what is left of its limits."""

from __future__ import annotations

import time
from typing import Any

from stepcoder_trl.executor.wire.messages import JobMessage, Reply, Result


class JobState:
    """
    State of one job, which its children change one after the other.

    Args:
        job (`JobMessage`): The job.

    Attributes:
        results (`list`): Result of each test. `None` for a test that has none yet.
        kept_bytes (`int`): Bytes of all outputs and reports together.
        cpu_s (`float`): CPU seconds of the tests.
        lines_again_cpu_s (`float`): CPU seconds of runs that are repeated for their lines.
        was_repeated (`bool`): Whether a run was repeated because somebody else killed the child.
        needs_process_per_test (`bool`): Whether each test gets a child of its own.
        wall_deadline (`float`): Monotonic time at which the wall time of the tests ends.
        hard_deadline (`float`): Monotonic time at which it ends even if the machine was too busy to run them.
        is_unexaminable (`bool`): Whether the examiner cannot send the arguments of a test.
    """

    def __init__(self, job: JobMessage) -> None:
        self.job = job
        self.results: list[Result | None] = [None] * len(job["tests"])
        self.kept_bytes = 0
        self.cpu_s = 0.0
        self.lines_again_cpu_s = 0.0
        self.was_repeated = False
        self.needs_process_per_test = job["fresh_process_per_test"]
        self.wall_deadline = time.monotonic() + job["program_wall_s"]
        self.hard_deadline = time.monotonic() + job["hard_wall_s"]
        self.is_unexaminable = False
        self._lines: set[int] = set()
        self._lines_known = True

    def reply(self) -> Reply:
        """Return the message to the caller."""
        return {
            "tests": self.results,
            "lines": sorted(self._lines) if self._lines_known else None,
            "cpu_s": self.cpu_s,
        }

    @property
    def has_too_much(self) -> bool:
        """Return whether fork server and caller would have to hold too much data of the program."""
        return self.kept_bytes > self.job["max_kept_bytes"]

    @property
    def too_much(self) -> str:
        """Return the message of a test after which there is too much data."""
        return f"wrote or returned more than {self.job['max_kept_bytes']} bytes in all tests together"

    @property
    def max_report_bytes(self) -> int:
        """Return the maximum length of a child's report."""
        return 2 * self.job["max_output_bytes"] + 65_536

    def fill(self, first: int, result: Result, cpu_s: float = 0.0) -> None:
        """Give the tests from `first` on one result. The CPU seconds count for the first of them."""
        for index in range(first, len(self.results)):
            self.results[index] = {**result, "cpu_s": cpu_s if index == first else 0.0}

    def add_lines(self, lines: Any) -> None:
        """Add lines that ran. If they are not a list of numbers, the lines of the program are unknown."""
        if isinstance(lines, list) and all(type(line) is int for line in lines):
            self._lines.update(lines)
        else:
            self._lines_known = False
