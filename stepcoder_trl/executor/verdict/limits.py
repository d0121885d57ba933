"""Limits of time, memory and output under which one program runs."""

from __future__ import annotations

import dataclasses
import functools
import math
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any, Literal, get_args, get_type_hints

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
        check_types(self)
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


_KINDS: dict[type, tuple[type, str]] = {
    bool: (bool, "True or False"),
    int: (Integral, "a whole number"),
    float: (Real, "a number"),
}


def check_types(settings: object) -> None:
    """Raise a `BadInputError` if a number or a flag of a dataclass has a value of another type."""
    cls: Any = type(settings)  # to mypy a class is not hashable
    for name, (kind, words) in _kinds(cls).items():
        value = getattr(settings, name)
        if not isinstance(value, kind) or (isinstance(value, bool) and bool not in kind):
            fix = "Write it without quotes." if isinstance(value, str) else "Leave it out for the default."
            raise BadInputError(f"`{name}` is {value!r}, but must be {words}. {fix}")


@functools.cache
def _kinds(cls: type) -> dict[str, tuple[tuple[type, ...], str]]:
    """Return the types that the numbers and flags among the fields may have, and their names for a message."""
    hints = get_type_hints(cls)
    found = {}
    for one in dataclasses.fields(cls):
        parts = get_args(hints[one.name]) or (hints[one.name],)
        if kinds := [_KINDS[part] for part in parts if part in _KINDS]:
            none = [(type(None), "None")] if type(None) in parts else []
            types, words = zip(*kinds, *none, strict=True)
            found[one.name] = (types, " or ".join(words))
    return found


def check_seconds(name: str, value: float | None) -> None:
    """Check that an option is a positive number of seconds. `None` stands for its default."""
    if value is not None and not (value > 0 and math.isfinite(value)):
        raise BadInputError(f"`{name}` is {value}, but must be a positive number of seconds.")


def program_seconds(limit: float | None, timeout_s: float, num_tests: int) -> float:
    """Return the CPU seconds of all tests together."""
    if limit is None:
        return TESTS_PER_PROGRAM_LIMIT * timeout_s
    return timeout_s * num_tests if limit == math.inf else limit
