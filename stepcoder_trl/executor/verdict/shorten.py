"""Short descriptions of values and texts of any size, for messages."""

from __future__ import annotations

from itertools import islice
from typing import Any


_LENGTH = 100
_PARTS = 20
_LEVELS = 4
_DIGITS_BITS = 4096  # a longer integer is not converted, which would take long, and which Python may refuse
_BRACKETS: dict[type, str] = {list: "[]", tuple: "()", set: "{}", frozenset: "{}"}


def brief(value: Any) -> str:
    """Return a value like `repr`, cut to a readable length. Its size does not matter."""
    return _cut(_text(value, _LEVELS))


def difference(actual: str, expected: str) -> str:
    """Return the first line in which two outputs differ, as it is and as it should be."""
    left, right = actual.rstrip().split("\n"), expected.rstrip().split("\n")
    differing = (n for n, pair in enumerate(zip(left, right, strict=False)) if pair[0].rstrip() != pair[1].rstrip())
    number = next(differing, min(len(left), len(right)))
    found, wanted = (brief(lines[number]) if number < len(lines) else "nothing" for lines in (left, right))
    return f"{found}, but expected {wanted}" + (f", in line {number + 1}" if len(left) + len(right) > 2 else "")


def _cut(text: str) -> str:
    return text if len(text) <= _LENGTH else text[: _LENGTH - 3] + "..."


def _text(value: Any, levels: int) -> str:
    kind: type = type(value)
    if kind in (str, bytes, bytearray):
        return _cut(repr(value[:_LENGTH])) + ("..." if len(value) > _LENGTH else "")
    if kind is int and value.bit_length() > _DIGITS_BITS:
        return f"an int of {value.bit_length()} bits"
    if kind in _BRACKETS or kind is dict:
        return _container(value, kind, levels)
    try:
        return repr(value)
    except (ValueError, RecursionError):  # a long integer in a fraction or range
        return f"a value of type {kind.__name__}"


def _container(value: Any, kind: type, levels: int) -> str:
    brackets = _BRACKETS.get(kind, "{}")
    first, last = brackets[0], brackets[1]
    if levels == 0:
        return f"{first}...{last}"
    if kind is dict:
        pairs = islice(value.items(), _PARTS)
        parts = [f"{_text(key, levels - 1)}: {_text(item, levels - 1)}" for key, item in pairs]
    else:
        parts = [_text(item, levels - 1) for item in islice(value, _PARTS)]
    if len(value) > _PARTS:
        parts.append("...")
    comma = "," if kind is tuple and len(value) == 1 else ""
    return first + ", ".join(parts) + comma + last
