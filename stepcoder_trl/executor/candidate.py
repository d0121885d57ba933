"""Program's side of an examination: its functions are called as the examiner's messages say."""

from __future__ import annotations

import errno
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from stepcoder_trl.executor.protocol import Channel, TooLarge, decode, encode
from stepcoder_trl.executor.raised import builtin_form, describe


_isinstance, _hasattr, _type, _list = isinstance, hasattr, type, list
_PLAIN_TYPES = frozenset((type(None), bool, int, float, complex, str, bytes, list, tuple, set, frozenset, dict, range))
OVER = "over"  # what the examiner says at the end of a test


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
    while (question := channel.receive()) != OVER:
        answer = _answer(functions, question, filename, tracer)
        tracer.rest()
        channel.send({"to": question["id"], **answer})
    tracer.wake()


def _answer(
    functions: Sequence[Callable[..., Any]], question: dict[str, Any], filename: str, tracer: Tracer
) -> dict[str, Any]:
    try:
        arguments = decode(question["arguments"])
        positional, named = arguments
        tracer.wake()
        value = functions[question["candidate"]](*positional, **named)
        if question["iterators"] and _is_iterable(value):
            value = _list(value)  # as the test would
        answer = {"value": encode(value)}
        if question["shared"]:
            left = encode(arguments)
            if left != question["arguments"]:
                answer["changed"] = left
        return answer
    except TooLarge:
        return _raised(OSError(errno.EFBIG, "returned value is too large"), filename)
    except BaseException as error:
        return _raised(error, filename)


def _is_iterable(value: Any) -> bool:
    """Whether a value that is not plain can be gone through: a generator, `map`, the keys of a dict."""
    kind = _type(value)
    return kind not in _PLAIN_TYPES and _hasattr(kind, "__iter__")


def _raised(error: BaseException, filename: str) -> dict[str, Any]:
    claims = describe(error, filename)
    if _isinstance(error, SystemExit):
        claims = {"error": "the program ended without an answer"}
    return {"raised": builtin_form(error), "claims": claims}
