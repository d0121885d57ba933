"""Compare actual with expected output. Runs outside the process that ran the program."""

from __future__ import annotations

import math
import re
from collections.abc import ItemsView, KeysView
from decimal import Decimal
from fractions import Fraction
from typing import Any

from stepcoder_trl.executor.wire.equality import DEFAULT_TOLERANCE, Tolerance
from stepcoder_trl.jsonl import parse_json


_INTEGER = re.compile(r"-?(0|[1-9][0-9]*)", re.ASCII)


def stdout_matches(actual: str, expected: str, float_tolerance: float | None = None) -> bool:
    """
    Return whether two texts are equal, ignoring trailing white space of each line and of the whole text.

    Words that are numbers are compared with this absolute and relative tolerance, or as text if it is `None`.
    """
    actual, expected = actual.rstrip(), expected.rstrip()
    if actual.count("\n") != expected.count("\n"):
        return False  # before millions of lines become objects
    left, right = _lines(actual), _lines(expected)
    if left == right:
        return True
    if float_tolerance is None:
        return False
    return all(_words_match(a, b, float_tolerance) for a, b in zip(left, right, strict=True))


def _lines(text: str) -> list[str]:
    return [line.rstrip() for line in text.split("\n")]


def _words_match(actual: str, expected: str, tolerance: float) -> bool:
    right = expected.split()
    left = actual.split(maxsplit=len(right))  # a program may print millions of words
    return len(left) == len(right) and all(
        a == b or _numbers_match(a, b, tolerance) for a, b in zip(left, right, strict=True)
    )


def _numbers_match(actual: str, expected: str, tolerance: float) -> bool:
    try:
        left, right = float(actual), float(expected)
    except ValueError:
        return False
    if math.isinf(left) and math.isinf(right) and re.search("[0-9]", actual + expected):
        return False  # long integers, and not the same digits
    return math.isclose(left, right, rel_tol=tolerance, abs_tol=tolerance)


def values_match(actual: Any, expected: Any, tolerance: Tolerance = DEFAULT_TOLERANCE) -> bool:
    """
    Compare a returned value with the expected one, which was read from JSON, structurally.

    A tuple or a view of a dict equals a list. An expected int equals only a number of the same value. An expected
    float equals numbers within the tolerance. nan equals nan. A bool is not an int, and a str is not a number. JSON's
    string keys match int keys. Values that are nested too deeply do not match.
    """
    try:
        return _match(actual, expected, tolerance)
    except (RecursionError, ArithmeticError):  # the latter for a Decimal that cannot be compared
        return False


def _match(actual: Any, expected: Any, tolerance: Tolerance) -> bool:
    if isinstance(actual, bool) or isinstance(expected, bool):
        return type(actual) is type(expected) and actual == expected
    if isinstance(actual, (int, float, Decimal, Fraction)) and isinstance(expected, (int, float)):
        return _number_matches(actual, expected, tolerance)
    if isinstance(actual, (list, tuple, KeysView, ItemsView)) and isinstance(expected, (list, tuple)):
        pairs = zip(actual, expected, strict=False)
        return len(actual) == len(expected) and all(_match(left, right, tolerance) for left, right in pairs)
    if isinstance(actual, dict) and isinstance(expected, dict):
        return _dicts_match(actual, expected, tolerance)
    return type(actual) is type(expected) and bool(actual == expected)


def _number_matches(actual: Any, expected: int | float, tolerance: Tolerance) -> bool:
    if actual == expected:
        return True
    try:
        return isinstance(expected, float) and tolerance.covers(float(actual), expected)
    except OverflowError:  # an int outside the range of floats
        return False


def _dicts_match(actual: dict[Any, Any], expected: dict[Any, Any], tolerance: Tolerance) -> bool:
    if len(actual) != len(expected):
        return False
    ints = {key: value for key, value in actual.items() if type(key) is int}
    for key, value in expected.items():
        if key in actual:
            found = actual[key]
        elif isinstance(key, str) and _INTEGER.fullmatch(key) and (number := parse_json(key)) in ints:
            found = ints[number]
        else:
            return False
        if not _match(found, value, tolerance):
            return False
    return True


def contains(container: Any, item: Any) -> bool:
    """
    Return `item in container`, in constant time for a range.

    Python walks through a range to find anything but an int, and a program may return a very long range.
    """
    if type(container) is range and type(item) is not int:
        is_whole = type(item) is bool or (type(item) is float and item.is_integer())
        return is_whole and int(item) in container
    return item in container


def is_close(actual: Any, expected: float, rel_tol: float, abs_tol: float) -> bool:
    """Return whether a value is as close to a number as `pytest.approx` asks. What is no number is not."""
    if actual == expected or abs(expected) == math.inf:
        return bool(actual == expected)
    is_number = isinstance(actual, (int, float, complex))
    return is_number and abs(actual - expected) <= max(rel_tol * abs(expected), abs_tol)
