"""Describe exceptions of programs for reports. None of their methods is called: the program may define them."""

from __future__ import annotations

import builtins
from typing import Any

from stepcoder_trl.executor.wire.messages import Result
from stepcoder_trl.executor.wire.text import MESSAGE_LENGTH, one_line


_type = type
_isinstance = isinstance


class MissingFunction(Exception):
    """Raised if the program does not define the function that its tests call."""


def describe(error: BaseException, filename: str) -> Result:
    """Return an exception as the result of a test: its message, and the last line of the program in its traceback."""
    try:
        line = None
        traceback = error.__traceback__
        while traceback is not None:
            if traceback.tb_frame.f_code.co_filename == filename:
                line = traceback.tb_lineno
            traceback = traceback.tb_next
        if _isinstance(error, MemoryError):
            return {"memory": message_of(error), "line": line}
        return {"error": message_of(error), "line": line}
    finally:
        error.__traceback__ = None


def message_of(error: BaseException) -> str:
    """Return an exception in one line. For a class that is not builtin, return only the name."""
    kind = _type(error)
    if kind is MissingFunction:
        return one_line(str(error))
    name: str = type.__dict__["__name__"].__get__(kind)
    if getattr(builtins, name, None) is not kind:
        return one_line(name)
    arguments: tuple[Any, ...] = BaseException.__dict__["args"].__get__(error)
    text = ": ".join(str(argument)[:MESSAGE_LENGTH] for argument in arguments if _is_short(argument))
    return one_line(f"{name}: {text}") if text else name


def _is_short(value: Any) -> bool:
    """Return whether a value is exactly a str or a small int, so that printing it calls no code of the program."""
    return _type(value) is str or (_type(value) is int and -(2**64) < value < 2**64)


def is_of_the_test(error: BaseException, filename: str) -> bool:
    """Return whether a test, or a library that it called, raised an exception, not the program under this path."""
    traceback = error.__traceback__
    files = []
    while traceback is not None:
        files.append(traceback.tb_frame.f_code.co_filename)
        traceback = traceback.tb_next
    return filename not in files or files[-1] in ("<test>", "<setup>")
