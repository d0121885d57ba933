"""Compare actual with expected output. Runs outside the process that ran the program."""

from __future__ import annotations

import math
from typing import Any


REL_TOL = 1e-6
ABS_TOL = 1e-9


def stdout_matches(actual: str, expected: str, float_tolerance: float | None = None) -> bool:
    """
    Return whether two texts are equal, ignoring trailing white space of each line and of the whole text.

    Words that are numbers are compared with this absolute and relative tolerance, or as text if it is `None`.
    """
    left, right = _lines(actual), _lines(expected)
    if left == right:
        return True
    if float_tolerance is None or len(left) != len(right):
        return False
    return all(_words_match(a, b, float_tolerance) for a, b in zip(left, right, strict=True))


def _lines(text: str) -> list[str]:
    return [line.rstrip() for line in text.rstrip().split("\n")]


def _words_match(actual: str, expected: str, tolerance: float) -> bool:
    left, right = actual.split(), expected.split()
    return len(left) == len(right) and all(
        a == b or _numbers_match(a, b, tolerance) for a, b in zip(left, right, strict=True)
    )


def _numbers_match(actual: str, expected: str, tolerance: float) -> bool:
    try:
        return math.isclose(float(actual), float(expected), rel_tol=tolerance, abs_tol=tolerance)
    except ValueError:
        return False


def values_match(actual: Any, expected: Any) -> bool:
    """
    Compare a returned value with the expected one, which was read from JSON, structurally.

    A tuple equals a list. An int equals a float of the same value. Floats are compared with a relative tolerance of
    1e-6 and an absolute tolerance of 1e-9. nan equals nan. A bool is not an int, and a str is not a number. JSON's
    string keys match int keys. Values that are nested too deeply do not match.
    """
    try:
        return _match(actual, expected)
    except RecursionError:
        return False


def _match(actual: Any, expected: Any) -> bool:
    if isinstance(actual, bool) or isinstance(expected, bool):
        return type(actual) is type(expected) and actual == expected
    if isinstance(actual, (int, float)) and isinstance(expected, (int, float)):
        return _close(actual, expected)
    if isinstance(actual, (list, tuple)) and isinstance(expected, (list, tuple)):
        return len(actual) == len(expected) and all(map(_match, actual, expected))
    if isinstance(actual, dict) and isinstance(expected, dict):
        return _dicts_match(actual, expected)
    return type(actual) is type(expected) and bool(actual == expected)


def _dicts_match(actual: dict[Any, Any], expected: dict[Any, Any]) -> bool:
    if len(actual) != len(expected):
        return False
    by_text = {_key_text(key): value for key, value in actual.items() if type(key) is int}
    found = {**by_text, **actual}
    return all(key in found and _match(found[key], value) for key, value in expected.items())


def _key_text(key: int) -> str:
    try:
        return str(key)
    except ValueError:  # too many digits for the interpreter to convert
        return hex(key)


def _close(left: float, right: float) -> bool:
    if isinstance(left, int) and isinstance(right, int):
        return left == right
    if left != left and right != right:
        return True
    try:
        return math.isclose(left, right, rel_tol=REL_TOL, abs_tol=ABS_TOL)
    except OverflowError:  # an int outside the range of floats
        return left == right


def python_equal(left: Any, right: Any) -> bool:
    """
    Return whether plain values are equal by Python's `==`, with a tolerance if one of two numbers is a float.

    This is the rule of `assert` tests: `True == 1`, and a tuple is not a list.
    """
    if left is right or left == right:
        return True
    if isinstance(left, (int, float)) and isinstance(right, (int, float)):
        return (isinstance(left, float) or isinstance(right, float)) and _close(left, right)
    if isinstance(left, (list, tuple)) and type(left) is type(right):
        return len(left) == len(right) and all(map(python_equal, left, right))
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(python_equal(value, right[key]) for key, value in left.items())
    return False


def contains(container: Any, item: Any) -> bool:
    """
    Return `item in container`, in constant time for a range.

    Python walks through a range to find anything but an int, and a program may return a very long range.
    """
    if type(container) is range and type(item) is not int:
        is_whole = type(item) is bool or (type(item) is float and item.is_integer())
        return is_whole and int(item) in container
    return item in container
