"""
Rehearse what children do, in the fork server, before it forks the forker.

Python prepares caches of types, code and specialized instructions while code runs for the first times. The forker and
its children inherit what is there. What a child has to prepare itself costs time and copies pages of memory.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Literal

from stepcoder_trl.executor.child.interpreter import getrecursionlimit, setrecursionlimit
from stepcoder_trl.executor.child.run import begin, run
from stepcoder_trl.executor.child.soft_limit import SoftLimit
from stepcoder_trl.executor.child.task import Inherited, Streams, receive_task
from stepcoder_trl.executor.wire.codec import encode
from stepcoder_trl.executor.wire.conversation import question_bytes
from stepcoder_trl.executor.wire.frames import json_bytes
from stepcoder_trl.executor.wire.jobs import compact, pack_for_child
from stepcoder_trl.executor.wire.messages import OVER, ChildJob, CodeAround, Question
from stepcoder_trl.executor.wire.progress import Progress
from stepcoder_trl.executor.wire.system import System


_TIMES = 12  # Python specializes code that has run some times


@dataclass(frozen=True)
class _Piece:
    """Program, tests, and messages of an examiner."""

    type: Literal["stdio", "call", "assert"]
    program: bytes
    tests: tuple[bytes, ...]
    fn_name: str | None = None
    setup: str = ""
    examiner: bytes = b""


def _question(number: int, *arguments: object) -> bytes:
    tree = [[encode(argument) for argument in arguments], {"d": []}]
    return question_bytes(Question(id=number, function=0, arguments=tree, shared=False))


_FUNCTION = b"def f(x):\n    return [x]\n"
_PIECES = (
    _Piece("call", _FUNCTION, (json_bytes(encode([1.5])),), fn_name="f"),
    _Piece("stdio", b"for _ in range(2):\n    print(input())\n", (b"1\n2\n", b"3\n4\n")),
    _Piece(
        "assert",
        _FUNCTION,
        (json_bytes({"expression": "f('a')", "truth": False, "elements": False}), json_bytes({"code": "f(2)"})),
    ),
    _Piece(
        "assert",
        _FUNCTION,
        (json_bytes({"candidates": ["f"]}),),
        setup="y = 1\n",
        examiner=_question(0, [1, 2.5, "a", (True, None)]) + _question(1, {"a": 1}) + question_bytes(OVER),
    ),
)


def rehearse(inherited: Inherited, system: System) -> None:
    """Run small programs of every kind often enough."""
    descriptors = [system.memory_file("stdin"), system.memory_file("stdout"), os.open(os.devnull, os.O_RDWR)]
    stdin, stdout, null = descriptors
    with _state_restored():
        for _ in range(_TIMES):
            for piece in _PIECES:
                _perform(piece, inherited, null, stdin, stdout)
    for descriptor in descriptors:
        os.close(descriptor)


def _perform(piece: _Piece, inherited: Inherited, null: int, stdin: int, stdout: int) -> None:
    inherited = replace(inherited, beginning=Progress(), claims=Progress(), soft_limit=SoftLimit())
    around = compact(CodeAround(fn_name=piece.fn_name, preamble="", setup=piece.setup))
    connection, end = os.pipe()
    questions, answers, unread = _pipes_of_examiner(piece.examiner)
    try:
        os.write(end, pack_for_child(_job_of(piece, inherited), [piece.program, around, *piece.tests]))
        task = receive_task(Streams(connection, null, stdin, stdout, questions, answers), inherited)
        report = begin(task)
        run(task, report)
        report.send({"end": report.trace()})
        if task.examiner is not None:
            task.examiner.close()
    finally:
        for descriptor in (connection, end, unread):
            os.close(descriptor)
        inherited.tracer.stop()


def _job_of(piece: _Piece, inherited: Inherited) -> ChildJob:
    return ChildJob(
        part_bytes=[],
        type=piece.type,
        first=0,
        folder=os.path.dirname(inherited.tracer.filename),
        memory_limit_bytes=2**20,
        cpu_limit_s=1,
        file_limit_bytes=2**20,
        max_output_bytes=2**20,
        waits_for_verdicts=False,
        is_traced=True,
        is_examined=bool(piece.examiner),
        shares_lines=False,
        has_home=False,
    )


def _pipes_of_examiner(messages: bytes) -> tuple[int, int, int]:
    """Return the end of a pipe that holds an examiner's messages, and both ends of one that takes the answers."""
    questions, end = os.pipe()
    os.write(end, messages)
    os.close(end)
    unread, answers = os.pipe()
    return questions, answers, unread


@contextmanager
def _state_restored() -> Iterator[None]:
    """Restore afterwards what a child changes for its program."""
    streams = sys.stdin, sys.__stdin__, sys.stdout, sys.__stdout__
    main = sys.modules["__main__"]
    limits = sys.setrecursionlimit, sys.getrecursionlimit
    saved = os.dup(0), os.dup(1)
    sys.setrecursionlimit, sys.getrecursionlimit = setrecursionlimit, getrecursionlimit
    yield
    sys.setrecursionlimit, sys.getrecursionlimit = limits
    for descriptor, copy in enumerate(saved):
        os.dup2(copy, descriptor)
        os.close(copy)
    sys.modules["__main__"] = main
    sys.stdin, sys.__stdin__, sys.stdout, sys.__stdout__ = streams  # type: ignore[misc]
