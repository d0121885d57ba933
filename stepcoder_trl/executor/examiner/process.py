"""
Examiner: the process that runs a dataset's checks and asks the program's process for results.

The fork server forks it once, and it serves many programs. It is confined like a program. It runs only code of the
dataset (preamble, setup, test), in a new namespace for each program. Functions of the program are replaced by
stand-ins, which send their arguments as messages and decode the answers as hostile input. So the verdict is decided
where no code of the program runs. Expected values enter neither the program's process nor the fork server that it is
forked from: they are in a file that only the examiner reads.
"""

from __future__ import annotations

import builtins
import contextlib
import gc
import json
import os
import random
import socket
import sys
from array import array
from collections import deque
from collections.abc import Callable
from functools import lru_cache
from types import CodeType
from typing import Any, NamedTuple, NoReturn

from stepcoder_trl.executor.examiner.exceptions import rebuilt
from stepcoder_trl.executor.examiner.references import NotPlain, References, StrictWriter
from stepcoder_trl.executor.wire.codec import TooLarge
from stepcoder_trl.executor.wire.conversation import ExaminersEnd
from stepcoder_trl.executor.wire.equality import python_equal
from stepcoder_trl.executor.wire.messages import (
    EQUAL_NAME,
    GARBAGE,
    GONE,
    Answer,
    Check,
    Checks,
    ExaminationRequest,
    Question,
    Result,
    Tree,
    Verdict,
    candidate_name,
)
from stepcoder_trl.executor.wire.objects import Reader
from stepcoder_trl.executor.wire.raised import describe, message_of
from stepcoder_trl.executor.wire.system import EXAMINER_NAME, name_process
from stepcoder_trl.executor.wire.text import one_line


_CACHED_CHECKS = 128
_REQUEST_BYTES = 2**16
_REMEDY = "run the canonical solution once to mark the row as untrusted"


def serve(control: socket.socket, checks_fd: int, confine: Callable[[], None]) -> NoReturn:
    """
    Examine tests until the fork server, at the other end of `control`, ends.

    `confine` applies the isolation layers to this process.
    """
    name_process(EXAMINER_NAME)
    confine()
    os.chdir("/")
    gc.enable()
    if sys.version_info >= (3, 10, 7):
        sys.set_int_max_str_digits(0)  # a check may write long results as text; the limit of CPU seconds holds
    recursion_limit = sys.getrecursionlimit()
    session: _Session | None = None
    while True:
        data, ends, _, _ = socket.recv_fds(control, _REQUEST_BYTES, 2)
        if not data:
            os._exit(0)
        request: ExaminationRequest = json.loads(data)
        if ends:
            if session is not None:
                session.channel.close()
            questions, answers = ends
            text = os.pread(checks_fd, request["size"], 0)
            random.seed(text)  # the same for every sample of a problem, and unknown to the program
            sys.setrecursionlimit(recursion_limit)
            session = _Session(_compiled(text), ExaminersEnd(answers, questions, request["max_bytes"]))
        assert session is not None
        control.send(json.dumps(session.examine(request["test"])).encode("ascii"))
        if session.lost is not None:
            session.channel.close()  # so that the program's process does not wait for more questions
            session = None
            continue
        with contextlib.suppress(BrokenPipeError):
            session.channel.finish()


class _CompiledChecks(NamedTuple):
    preparation: list[CodeType]
    tests: dict[int, tuple[CodeType, Check]]


@lru_cache(maxsize=_CACHED_CHECKS)  # samples of a problem share their checks
def _compiled(text: bytes) -> _CompiledChecks:
    checks: Checks = json.loads(text)
    parts = ("preamble", checks["preamble"]), ("setup", checks["setup"])
    preparation = [compile(code, f"<{name}>", "exec", dont_inherit=True) for name, code in parts if code]
    tests = {
        int(number): (compile(check["statement"], "<test>", "exec", dont_inherit=True), check)
        for number, check in checks["tests"].items()
    }
    return _CompiledChecks(preparation, tests)


class _Lost(BaseException):
    """Raised to abort an examination. Not an `Exception`, so that few checks catch it. Otherwise `lost` stays set."""


class _Refused(BaseException):
    """Raised to end a test that needs what messages cannot carry. Otherwise `refused` stays set."""


class _Session:
    """Examination of one process of a program."""

    def __init__(self, checks: _CompiledChecks, channel: ExaminersEnd) -> None:
        self.checks = checks
        self.channel = channel
        self.lost: str | None = None
        self.refused: str | None = None  # what the test needs, whatever it makes of the error
        self.namespace: dict[str, Any] | None = None
        self.questions = 0
        self.raised: BaseException | None = None  # the program's last exception, and its process's claims about it
        self.claims: Result = {}
        self.references = References(self.operate, self.refuse)

    def examine(self, number: int) -> Verdict:
        """Return the verdict on one test."""
        code, check = self.checks.tests[number]
        self.references = References(self.operate, self.refuse)
        self.refused = None
        try:
            namespace = self.prepared()
            for candidate in range(check["candidates"]):
                namespace[candidate_name(candidate)] = _stand_in(self, check, candidate)
            exec(code, namespace)
            verdict: Verdict = {"passed": True}
        except BaseException as error:
            verdict = self.verdict_on(error)
        finally:
            self.raised = None
        if self.lost is not None:
            return {"aborted": self.lost}
        return verdict if self.refused is None else {"error": one_line(self.refused), "line": None}

    def prepared(self) -> dict[str, Any]:
        if self.namespace is None:
            namespace: dict[str, Any] = {"__name__": "__main__", "__builtins__": builtins, EQUAL_NAME: python_equal}
            for code in self.checks.preparation:
                exec(code, namespace)
            self.namespace = namespace
        return self.namespace

    def verdict_on(self, error: BaseException) -> Verdict:
        if error is self.raised:
            return self.claims
        if isinstance(error, AssertionError):  # from the test, or from a library that it uses, such as numpy.testing
            return {"assertion_error": message_of(error), "line": _line_of_setup(error)}
        return describe(error, "")  # no line of the program raised it

    def operate(self, operation: str, *operands: Any) -> Any:
        """Ask the program's process for a property of one of its objects, such as its text or length."""
        return self.converse(operation, [list(operands), {}], shared=False)

    def converse(self, function: int | str, arguments: list[Any], shared: bool) -> Any:
        """Ask a question and wait for the answer."""
        if self.lost is not None:
            raise _Lost
        if self.refused is not None:
            raise _Refused
        self.raised = None
        tree = self.encoded(arguments)
        question: Question = {"id": self.questions, "function": function, "arguments": tree, "shared": shared}
        try:
            self.channel.ask(question)
            value = self.take(self.channel.answer(), arguments, shared)
        except (EOFError, BrokenPipeError):
            self.lose(GONE)
        except (ValueError, TypeError, LookupError, AttributeError, OverflowError, RecursionError, MemoryError):
            self.lose(GARBAGE)
        if self.raised is not None:
            raise self.raised
        return value

    def encoded(self, arguments: list[Any]) -> Tree:
        try:
            return StrictWriter(self.references.number, shares=True).encode(arguments, 0)
        except NotPlain as error:
            self.refuse(f"a {error}")
        except TooLarge:
            self.refuse("arguments that are too large")

    def take(self, answer: Answer, arguments: list[Any], shared: bool) -> Any:
        """Return the value of an answer, or set `raised` if the program raised. Raise ValueError etc. for garbage."""
        if answer["to"] != self.questions:
            raise ValueError("an answer to another question")
        self.questions += 1
        if "raised" in answer:
            self.claims = _checked_claims(answer["claims"])
            self.raised = rebuilt(answer["raised"], self.refuse)
            return None
        value = self.decoded(answer["value"], shares=False)
        if "changed" in answer:
            if not shared:
                raise ValueError("changes of arguments that nobody asked for")
            _update(arguments, self.decoded(answer["changed"], shares=True))
        return value

    def decoded(self, tree: Tree, shares: bool) -> Any:
        return Reader(self.references.referred, self.references.derived, shares).read(tree)

    def refuse(self, what: str) -> NoReturn:
        """End the test, because it needs what cannot be passed on to the program."""
        self.refused = f"{what} cannot be passed on to the program; {_REMEDY}"
        raise _Refused

    def lose(self, why: str) -> NoReturn:
        self.lost = why
        raise _Lost


def _line_of_setup(error: BaseException) -> int | None:
    """Return the last line of the setup that an exception went through. The caller has the text of that line."""
    line, trace = None, error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == "<setup>":
            line = trace.tb_lineno
        trace = trace.tb_next
    return line


def _stand_in(session: _Session, check: Check, candidate: int) -> Callable[..., Any]:
    """Return a function that calls the program's function by message."""

    def stand_in(*positional: Any, **named: Any) -> Any:
        arguments = [list(positional), named]
        session.references.forget()
        return session.converse(candidate, arguments, check["shares_arguments"])

    return stand_in


def _checked_claims(claims: Result) -> Result:
    """Check the program's description of its exception."""
    if not claims.keys() <= {"error", "memory", "line"}:
        raise ValueError("unknown claim")
    line = claims.get("line")
    line = line if type(line) is int and 0 < line < 2**31 else None
    if "memory" in claims:
        return {"memory": one_line(str(claims["memory"])), "line": line}
    return {"error": one_line(str(claims["error"])), "line": line}


def _update(old: Any, new: Any) -> None:
    """Apply the program's changes to an argument in place, because the check may hold references into it."""
    if type(old) is not type(new) or old is new:
        return
    if isinstance(old, list):
        old[:] = [_updated(before, after) for before, after in zip(old, new, strict=False)] + new[len(old) :]
    elif isinstance(old, dict):
        merged = {key: _updated(old[key], after) if key in old else after for key, after in new.items()}
        old.clear()
        old.update(merged)
    elif isinstance(old, set):
        old.clear()
        old.update(new)
    elif isinstance(old, deque):
        old.clear()
        old.extend(new)
    elif isinstance(old, (bytearray, array)):
        old[:] = new
    elif isinstance(old, tuple):
        for before, after in zip(old, new, strict=False):
            _update(before, after)


def _updated(old: Any, new: Any) -> Any:
    """Return the new element of a container: the old object, updated in place, if the type is the same."""
    if type(old) is type(new) and isinstance(old, (list, dict, set, deque, bytearray, array)):
        _update(old, new)
        return old
    if type(old) is tuple and type(new) is tuple and len(old) == len(new):
        _update(old, new)
        return tuple(map(_updated, old, new))
    return new
