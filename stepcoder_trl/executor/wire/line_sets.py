"""Sets of line numbers as short texts: hexadecimal numbers, of which bit `i` stands for line `i`."""

from __future__ import annotations

from collections.abc import Iterable


_DIGITS = frozenset("0123456789abcdef")
MAX_CHARACTERS = 2**11  # of a text: it is sent for each test


def packed(lines: Iterable[int]) -> str | None:
    """Return a set of line numbers as a text. `None` if a line number is too large."""
    bits = 0
    for line in lines:
        if line >= 4 * MAX_CHARACTERS:
            return None
        bits |= 1 << line
    return f"{bits:x}"


def bits_of(text: object) -> int | None:
    """Return the bits of a text that claims to be a set of lines. `None` if it is none."""
    if not isinstance(text, str) or not 0 < len(text) <= MAX_CHARACTERS or not _DIGITS.issuperset(text):
        return None
    return int(text, 16)


def lines_of(bits: int) -> list[int]:
    """Return the line numbers of a set, sorted."""
    return [line for line, bit in enumerate(reversed(f"{bits:b}")) if bit == "1"]
