"""Answer the examiner in the program's process: call the program's functions as its messages say."""

from __future__ import annotations

import errno
import math
import operator
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

from stepcoder_trl.executor.child.tracer import LineTracer
from stepcoder_trl.executor.wire.codec import TooLarge
from stepcoder_trl.executor.wire.conversation import ChildsEnd
from stepcoder_trl.executor.wire.exceptions import raised_form
from stepcoder_trl.executor.wire.messages import OVER, Answer, Question, Result
from stepcoder_trl.executor.wire.objects import Objects, Reader, Writer
from stepcoder_trl.executor.wire.raised import describe


Operations = Mapping[str, Callable[..., Any]]

_isinstance, _type, _getattr, _iter, _id = isinstance, type, getattr, iter, id
_SLOT = type(list.__iter__)
# Operations on objects that are not sent. Bound before any program runs, which may replace builtins.
_OPERATIONS: Operations = {
    function.__name__: function
    for function in (
        *(str, repr, format, len, iter, bool, int, float, complex, bytes, abs, round, hasattr),
        *(operator.getitem, operator.eq, operator.neg, operator.pos, operator.invert, operator.index),
        *(math.trunc, math.floor, math.ceil),
    )
}


def _defines(value: Any, name: str) -> bool:
    """Return whether the class of an object has a special method of its own."""
    return _getattr(_type(value), name, None) is not _getattr(object, name, None)


def _is_stream(value: Any) -> bool:
    """Return whether an object is a generator or another iterator of Python's, which has its elements once."""
    return _type(_getattr(_type(value), "__iter__", None)) is _SLOT and _iter(value) is value


class _Taker:
    """Takes elements of iterators."""

    def __init__(self) -> None:
        self._problems: dict[int, BaseException] = {}  # by `id` of the iterator, for the next question

    def take(self, iterator: Iterator[Any], number: int) -> tuple[list[Any], bool]:
        """Return as many of the next elements, or fewer, and whether these are the last ones."""
        if _id(iterator) in self._problems:
            raise self._problems.pop(_id(iterator))
        taken: list[Any] = []
        try:
            for element in islice(iterator, number):
                taken.append(element)
        except BaseException as error:
            if not taken:
                raise
            self._problems[_id(iterator)] = error
            return taken, False
        return taken, len(taken) < number


def operations() -> Operations:
    """Return the operations that one conversation may ask for, by name."""
    return {**_OPERATIONS, "defines": _defines, "is_stream": _is_stream, "take": _Taker().take}


def answer_questions(
    examiner: ChildsEnd, functions: Sequence[Callable[..., Any]], filename: str, tracer: LineTracer
) -> None:
    """
    Call functions of the program until the examiner has no more questions. Questions name them by index.

    The tracer is paused while no code of the program runs, because tracing slows down all code.
    """
    tracer.pause()
    objects = Objects()
    known_operations = operations()
    while (question := examiner.question()) != OVER:
        answer = _answer(functions, known_operations, objects, question, filename, tracer)
        tracer.pause()
        answer["to"] = question["id"]
        examiner.answer(answer)
    tracer.resume()


def _answer(
    functions: Sequence[Callable[..., Any]],
    operations: Operations,
    objects: Objects,
    question: Question,
    filename: str,
    tracer: LineTracer,
) -> Answer:
    try:
        arguments = Reader(objects.__getitem__).read(question["arguments"])
        positional, named = arguments
        asked: Any = question["function"]
        function = functions[asked] if _isinstance(asked, int) else operations[asked]
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
    return {"raised": raised_form(error), "claims": claims}
