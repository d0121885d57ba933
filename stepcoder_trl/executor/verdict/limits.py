"""Limits of time, memory and output under which one program runs."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from stepcoder_trl.errors import BadInputError


MIN_MEMORY_LIMIT_BYTES = 2**20
MAX_MEMORY_LIMIT_BYTES = 2**50  # `setrlimit` refuses much larger numbers
MIN_OUTPUT_BYTES = 16 * 2**20
MIN_KEPT_BYTES = 4 * MIN_OUTPUT_BYTES  # of all tests together
WALL_PER_CPU = 3.0  # a program that sleeps may take this many times its CPU limit
SERVER_SLACK_S = 30.0  # a server counts as lost if it is silent for this long after its program must have ended
TESTS_PER_PROGRAM_LIMIT = 5  # default limit of all tests together, in limits of one test


@dataclass(frozen=True)
class Limits:
    """
    Limits of a program, and how its tests are run: the settings that all executors share.

    [`ExecutorConfig`] describes each field.
    """

    timeout_s: float = 3.0
    program_timeout_s: float | None = None
    memory_limit_bytes: int = 512 * 2**20
    isolation: Literal["auto", "strict", "none"] = "auto"
    stop_on_first_failure: bool = False
    float_tolerance: float | None = None
    fresh_process_per_test: bool = False
    trace: bool = True
    keep_outputs: bool = False

    def __post_init__(self) -> None:
        check_seconds("timeout_s", self.timeout_s)
        if self.program_timeout_s != math.inf:
            check_seconds("program_timeout_s", self.program_timeout_s)
        if self.memory_limit_bytes < MIN_MEMORY_LIMIT_BYTES:
            raise BadInputError(
                f"`memory_limit_bytes` is {self.memory_limit_bytes}, but must be at least {MIN_MEMORY_LIMIT_BYTES}. "
                f"It counts bytes: write 512 * 2**20 for 512 MiB."
            )
        if self.isolation not in ("auto", "strict", "none"):
            raise BadInputError(f"`isolation` is {self.isolation!r}, but must be 'auto', 'strict' or 'none'.")
        tolerance = self.float_tolerance
        if tolerance is not None and not (tolerance >= 0 and math.isfinite(tolerance)):
            raise BadInputError(
                f"`float_tolerance` is {tolerance}, but must be a number of at least 0. Leave it out to compare text."
            )


def check_seconds(name: str, value: float | None) -> None:
    """Check that an option is a positive number of seconds. `None` stands for its default."""
    if value is not None and not (value > 0 and math.isfinite(value)):
        raise BadInputError(f"`{name}` is {value}, but must be a positive number of seconds.")


def program_seconds(limit: float | None, timeout_s: float, num_tests: int) -> float:
    """Return the CPU seconds of all tests together."""
    if limit is None:
        return TESTS_PER_PROGRAM_LIMIT * timeout_s
    return timeout_s * num_tests if limit == math.inf else limit
