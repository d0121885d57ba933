"""Short descriptions of values and texts of any size, for messages."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from itertools import islice, zip_longest
from typing import Any


_LENGTH = 100
_PARTS = 20
_LEVELS = 4
_DIGITS_BITS = 4096  # a longer integer is not converted, which would take long, and which Python may refuse
_VIEWS: tuple[type, ...] = (type({}.keys()), type({}.values()), type({}.items()))
_BRACKETS: dict[type, str] = {list: "[]", tuple: "()", set: "{}", frozenset: "{}"}


def brief(value: Any) -> str:
    """Return a value like `repr`, cut to a readable length. Its size does not matter."""
    return _cut(_text(value, _LEVELS))


def difference(actual: str, expected: str) -> str:
    """Return the first line in which two outputs differ, as it is and as it should be."""
    pairs = enumerate(zip_longest(_lines(actual), _lines(expected)), start=1)
    number, pair = next(((number, pair) for number, pair in pairs if pair[0] != pair[1]), (0, ("", "")))
    parts = ("nothing" if line is None else brief(line) for line in pair)
    is_one_line = "\n" not in actual.rstrip() and "\n" not in expected.rstrip()
    return ", but expected ".join(parts) + ("" if is_one_line else f", in line {number}")


def _lines(text: str) -> Iterator[str]:
    """Yield the lines of a text without white space at their ends. There may be millions of them."""
    text = text.rstrip()
    start = 0
    while (end := text.find("\n", start)) >= 0:
        yield text[start:end].rstrip()
        start = end + 1
    yield text[start:].rstrip()


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
    if kind in _VIEWS:
        content = _container(list(islice(value, _PARTS + 1)), list, levels)
        return f"{kind.__name__}({content})"
    if kind is Fraction:
        return f"Fraction({_text(value.numerator, 0)}, {_text(value.denominator, 0)})"
    if kind is range:
        parts = (value.start, value.stop, value.step) if value.step != 1 else (value.start, value.stop)
        return f"range({', '.join(_text(part, 0) for part in parts)})"
    try:
        return repr(value)
    except (ValueError, RecursionError):  # a long integer in a view of a dict
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
