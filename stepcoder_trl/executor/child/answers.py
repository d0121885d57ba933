"""Answer the examiner in the program's process: call the program's functions as its messages say."""

from __future__ import annotations

import errno
import operator
from collections.abc import Callable, Sequence
from typing import Any

from stepcoder_trl.executor.child.tracer import LineTracer
from stepcoder_trl.executor.wire.codec import TooLarge
from stepcoder_trl.executor.wire.conversation import ChildsEnd
from stepcoder_trl.executor.wire.messages import OVER, Answer, Question, Result
from stepcoder_trl.executor.wire.objects import Objects, Reader, Writer
from stepcoder_trl.executor.wire.raised import builtin_form, describe


_isinstance = isinstance
# Operations on objects that are not sent. Bound before any program runs, which may replace builtins.
_OPERATIONS: dict[str, Callable[..., Any]] = {
    **{function.__name__: function for function in (str, repr, len, list, bool, int, float)},
    **{function.__name__: function for function in (operator.getitem, operator.eq)},
}


def answer_questions(
    examiner: ChildsEnd, functions: Sequence[Callable[..., Any]], filename: str, tracer: LineTracer
) -> None:
    """
    Call functions of the program until the examiner has no more questions. Questions name them by index.

    The tracer is paused while no code of the program runs, because tracing slows down all code.
    """
    tracer.pause()
    objects = Objects()
    while (question := examiner.question()) != OVER:
        answer = _answer(functions, objects, question, filename, tracer)
        tracer.pause()
        answer["to"] = question["id"]
        examiner.answer(answer)
    tracer.resume()


def _answer(
    functions: Sequence[Callable[..., Any]], objects: Objects, question: Question, filename: str, tracer: LineTracer
) -> Answer:
    try:
        arguments = Reader(objects.__getitem__).read(question["arguments"])
        positional, named = arguments
        asked: Any = question["function"]
        function = functions[asked] if _isinstance(asked, int) else _OPERATIONS[asked]
        tracer.resume()
        writer = Writer(objects.number)
        answer: Answer = {"value": writer.encode(function(*positional, **named), 0)}
        if question["shared"]:
            left = Writer(objects.number, shares=True, items_left=writer.items_left).encode(arguments, 0)
            if left != question["arguments"]:
                answer["changed"] = left
        return answer
    except TooLarge:
        return _raised(OSError(errno.EFBIG, "returned value is too large"), filename)
    except BaseException as error:
        return _raised(error, filename)


def _raised(error: BaseException, filename: str) -> Answer:
    claims: Result = describe(error, filename)
    if _isinstance(error, SystemExit):
        claims = {"error": "the program ended without an answer"}
    return {"raised": builtin_form(error), "claims": claims}
