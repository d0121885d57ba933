"""JSON for rows and messages."""

from __future__ import annotations

import json
from typing import Any


_SHOWN_LENGTH = 80
_INT_DIGITS = 4000  # below the interpreter's limit on the digits of one conversion


def shown(value: Any) -> str:
    """Value and type for a message, cut to a readable length; never fails, whatever the value."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # an integer of more digits than Python prints; a list that is too deep
        return f"of type {type(value).__name__}"
    text = text if len(text) <= _SHOWN_LENGTH else text[: _SHOWN_LENGTH - 3] + "..."
    return f"{text} ({type(value).__name__})" if value is not None else text


def parse_json(text: str) -> Any:
    """
    Read JSON, with integers of any length.

    Args:
        text (`str`): JSON text.

    Returns:
        `Any`: The value.

    Raises:
        ValueError: If it is not JSON or nested too deeply. The message holds line and column where there are any.
    """
    try:
        return json.loads(text, parse_int=_parse_int)
    except RecursionError:
        raise ValueError("it is nested too deeply: more levels than Python's JSON reader allows") from None


def _parse_int(digits: str) -> int:
    """`int(digits)` without the interpreter's limit: these are our own data, not a program's."""
    if len(digits) <= _INT_DIGITS:
        return int(digits)
    sign, digits = (-1, digits[1:]) if digits[0] == "-" else (1, digits)
    value = 0
    for start in range(0, len(digits), _INT_DIGITS):
        part = digits[start : start + _INT_DIGITS]
        value = value * 10 ** len(part) + int(part)
    return sign * value
