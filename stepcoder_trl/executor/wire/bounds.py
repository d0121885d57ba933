"""
Bounds of a message from a hostile process, checked on its bytes before it is parsed.

JSON of 32 MiB can become more than a gigabyte of Python objects. Whoever parses it pays, so it is counted first.
"""

from __future__ import annotations

from itertools import accumulate

from stepcoder_trl.executor.wire.codec import MAX_DEPTH, MAX_ITEMS


MESSAGE_ITEMS = 2 * MAX_ITEMS + 2**16  # commas, colons and opening brackets: two for an item of a value, and the frame
MESSAGE_DEPTH = 2 * MAX_DEPTH + 16  # brackets: two for a level of a value, and the frame
_PIECE_BYTES = 2**18
_OTHERS = bytes(set(range(256)) - set(b'",:[]{}'))
_STEPS = bytes.maketrans(b"[{]}", bytes([1, 1, 255, 255]))  # as signed bytes: one level down, one level up


def check_bounds(payload: bytes, max_items: int = MESSAGE_ITEMS, max_depth: int = MESSAGE_DEPTH) -> None:
    """
    Raise an error if parsing this JSON would create too many or too deeply nested objects.

    It takes linear time. What follows a syntax error is not counted exactly, and never parsed.

    Raises:
        OverflowError: If there are more than `max_items` commas, colons and opening brackets outside of strings.
        ValueError: If there are more than `max_depth` levels of brackets.
    """
    if len(payload) <= max_depth:
        return
    if _items(payload) <= max_items and _openings(payload) <= max_depth:
        return
    outside = _outside_strings(payload, max_items)
    if _items(outside) > max_items:
        raise OverflowError(f"message of more than {max_items} items")
    steps = memoryview(outside.translate(_STEPS, b",:")).cast("b")
    if max(accumulate(steps), default=0) > max_depth:
        raise ValueError(f"message of more than {max_depth} levels")


def _items(text: bytes) -> int:
    return text.count(b",") + text.count(b":") + _openings(text)


def _openings(text: bytes) -> int:
    return text.count(b"[") + text.count(b"{")


def _outside_strings(payload: bytes, max_items: int) -> bytes:
    """Return the commas, colons and brackets outside of strings."""
    # Two strings never touch in valid JSON. So without escapes and plain text, most strings are a pair of quotes.
    text = payload.replace(rb"\\", b"").replace(rb"\"", b"").translate(None, _OTHERS).replace(b'""', b"")
    if text.count(b'"') > 2 * max_items + 2:
        raise OverflowError(f"message of more than {max_items} strings")
    is_inside = 0
    outside = []
    for start in range(0, len(text), _PIECE_BYTES):  # in pieces, because each part becomes an object
        parts = text[start : start + _PIECE_BYTES].split(b'"')
        outside.append(b"".join(parts[is_inside::2]))
        is_inside ^= (len(parts) - 1) & 1
    return b"".join(outside)
