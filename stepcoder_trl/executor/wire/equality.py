"""Equality of plain values with a tolerance for floats, as the trainer and the examiner compare them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Tolerance:
    """Relative and absolute tolerance of floats."""

    relative: float = 1e-6
    absolute: float = 1e-9

    def covers(self, left: float, right: float) -> bool:
        """Return whether two numbers are equal within the tolerance. nan equals nan."""
        if left != left and right != right:
            return True
        return math.isclose(left, right, rel_tol=self.relative, abs_tol=self.absolute)


DEFAULT_TOLERANCE = Tolerance()


def python_equal(left: Any, right: Any) -> bool:
    """
    Return whether plain values are equal by Python's `==`, with a tolerance if two numbers are both floats.

    This is the rule of `assert` tests: `True == 1`, and a tuple is not a list.
    """
    if left is right or left == right:
        return True
    if isinstance(left, float) and isinstance(right, float):
        return DEFAULT_TOLERANCE.covers(left, right)
    if any(isinstance(left, kind) and isinstance(right, kind) for kind in (list, tuple)):
        return len(left) == len(right) and all(map(python_equal, left, right))
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(python_equal(value, right[key]) for key, value in left.items())
    return False
