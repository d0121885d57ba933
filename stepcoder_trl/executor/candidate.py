"""Program's side of an examination: its functions are called as the examiner's messages say."""

from __future__ import annotations

import errno
import operator
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from stepcoder_trl.executor.protocol import Channel, TooLarge
from stepcoder_trl.executor.raised import builtin_form, describe
from stepcoder_trl.executor.values import Objects, Reader, Writer


_isinstance = isinstance
OVER = "over"  # what the examiner says at the end of a test
# What it may ask of objects that stay here. Bound before any program runs.
_OPERATIONS: dict[str, Callable[..., Any]] = {
    **{function.__name__: function for function in (str, repr, len, list, bool, int, float)},
    **{function.__name__: function for function in (operator.getitem, operator.eq)},
}


class Tracer(Protocol):
    """What can be told not to look, and to look again."""

    def rest(self) -> None: ...

    def wake(self) -> None: ...


def answer_questions(channel: Channel, functions: Sequence[Callable[..., Any]], filename: str, tracer: Tracer) -> None:
    """
    Call functions of the program until the examiner has no more questions.

    Args:
        channel (`Channel`): To the examiner.
        functions (`Sequence[Callable]`): What its questions name by number.
        filename (`str`): Path that the program is compiled under.
        tracer (`Tracer`): Rests while none of the program's code can run: it makes all code slower, not only traced.

    Raises:
        EOFError: If the examiner is gone.
    """
    tracer.rest()
    objects = Objects()
    while (question := channel.receive()) != OVER:
        answer = _answer(functions, objects, question, filename, tracer)
        tracer.rest()
        channel.send({"to": question["id"], **answer})
    tracer.wake()


def _answer(
    functions: Sequence[Callable[..., Any]], objects: Objects, question: dict[str, Any], filename: str, tracer: Tracer
) -> dict[str, Any]:
    try:
        arguments = Reader(objects.__getitem__).read(question["arguments"])
        positional, named = arguments
        asked = question["function"]
        function = _OPERATIONS[asked] if asked in _OPERATIONS else functions[asked]
        tracer.wake()
        answer = {"value": Writer(objects.number).encode(function(*positional, **named), 0)}
        if question["shared"]:
            left = Writer(objects.number, shares=True).encode(arguments, 0)
            if left != question["arguments"]:
                answer["changed"] = left
        return answer
    except TooLarge:
        return _raised(OSError(errno.EFBIG, "returned value is too large"), filename)
    except BaseException as error:
        return _raised(error, filename)


def _raised(error: BaseException, filename: str) -> dict[str, Any]:
    claims = describe(error, filename)
    if _isinstance(error, SystemExit):
        claims = {"error": "the program ended without an answer"}
    return {"raised": builtin_form(error), "claims": claims}
