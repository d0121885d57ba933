"""
The two ends of the conversation between the examiner and a program's process, over two pipes.

Answers come from a hostile process, so they are JSON within bounds. Questions come from the examiner, so they are in
Python's own format, which takes the program's process less time and fewer copied pages.
"""

from __future__ import annotations

import os
from collections import deque
from typing import Any

from stepcoder_trl.executor.wire.frames import HEADER, READ_BYTES, FrameBuffer, frame, write_all
from stepcoder_trl.executor.wire.jobs import compact, expanded, read_exactly
from stepcoder_trl.executor.wire.messages import OVER, Answer, Question


_close, _read = os.close, os.read  # bound before any program runs, which may replace them in its process


def question_bytes(question: Question | str) -> bytes:
    """Return a question, or `OVER`, as a message."""
    payload = compact(question)
    return HEADER.pack(len(payload)) + payload


class _End:
    def __init__(self, read_fd: int, write_fd: int) -> None:
        self._read_fd, self._write_fd = read_fd, write_fd

    def close(self) -> None:
        """Close both pipes."""
        _close(self._read_fd)
        _close(self._write_fd)


class ExaminersEnd(_End):
    """End of the examiner. An answer has at most `max_bytes`."""

    def __init__(self, answers: int, questions: int, max_bytes: int) -> None:
        super().__init__(answers, questions)
        self._buffer = FrameBuffer(max_bytes)
        self._waiting: deque[Any] = deque()

    def ask(self, question: Question) -> None:
        """Send a question. Wait until it fits into the pipe."""
        write_all(self._write_fd, question_bytes(question))

    def finish(self) -> None:
        """Say that there are no more questions about a test."""
        write_all(self._write_fd, question_bytes(OVER))

    def answer(self) -> Any:
        """Wait for an answer. Raise EOFError if the child has ended, or as `FrameBuffer.feed` does."""
        while not self._waiting:
            data = _read(self._read_fd, READ_BYTES)
            if not data:
                raise EOFError("the other side is gone")
            self._waiting.extend(self._buffer.feed(data))
        return self._waiting.popleft()


class ChildsEnd(_End):
    """End of the program's process."""

    def question(self) -> Any:
        """Wait for a question, or for `OVER`. Raise EOFError if the examiner has ended."""
        (size,) = HEADER.unpack(read_exactly(self._read_fd, HEADER.size))
        return expanded(read_exactly(self._read_fd, size))

    def answer(self, answer: Answer) -> None:
        """Send an answer. Wait until it fits into the pipe."""
        write_all(self._write_fd, frame(answer))
