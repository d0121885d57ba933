"""Fork server's side of an examination: what it hears from the examiner about the tests of one child."""

from __future__ import annotations

import os
import select
from collections.abc import Callable
from typing import Any

from stepcoder_trl.executor.examiner import NOT_PLAIN, Examiner
from stepcoder_trl.executor.protocol import Channel


_QUESTION_BYTES = 2**30


class Examination:
    """
    Examination of one child of a program, or of none if its tests need no examiner.

    The child says when it has answered all questions on a test; the verdict is there by then. So the examiner's
    descriptor wakes the server only when it ends, or when the child can say nothing any more.

    Args:
        examiner (`Examiner`, *optional*): Who examines.
        end_examiner (`Callable`): Ends the examiner, so that the next child gets a new one.
        checks_bytes (`int`): Size of the checks in the file that the examiner reads.
        max_answer_bytes (`int`): Length of an answer above which it counts as garbage.

    Attributes:
        verdict (`dict`, *optional*): What it found on the test that is being run.
    """

    def __init__(
        self, examiner: Examiner | None, end_examiner: Callable[[], None], checks_bytes: int, max_answer_bytes: int
    ) -> None:
        self.verdict: dict[str, Any] | None = None
        self._examiner = examiner
        self._end_examiner = end_examiner
        self._request = {"size": checks_bytes, "max_bytes": max_answer_bytes}
        self._is_used_up = False
        self._childs_ends: tuple[int, ...] = ()
        self._examiners_ends: tuple[int, ...] = ()

    # The pipes between child and examiner

    def connect(self) -> Channel | None:
        """Make the pipes, before the fork; returns the child's side of them."""
        if self._examiner is None:
            return None
        questions_read, questions_write = os.pipe()
        answers_read, answers_write = os.pipe()
        self._childs_ends = questions_read, answers_write
        self._examiners_ends = questions_write, answers_read
        return Channel(questions_read, answers_write, _QUESTION_BYTES)

    def leave_to_child(self) -> None:
        """In the server: close what only the child is to have, so that the examiner sees when it is gone."""
        self._childs_ends = _closed(self._childs_ends)

    def close_in_child(self) -> None:
        """In the child: close what only the examiner is to have."""
        self._examiners_ends = _closed(self._examiners_ends)

    def close(self) -> None:
        """Close what is still open."""
        self._childs_ends = _closed(self._childs_ends)
        self._examiners_ends = _closed(self._examiners_ends)

    # The course of an examination

    @property
    def is_under_way(self) -> bool:
        """Whether the examiner owes a verdict."""
        return self._examiner is not None and self._examiner.busy

    @property
    def lost(self) -> str | None:
        """Why the examination of this test could not come to its end, `None` if it did or may."""
        return None if self.verdict is None else self.verdict.get("lost")

    @property
    def was_not_plain(self) -> bool:
        """Whether the test turned out to need the program's process."""
        return self.lost == NOT_PLAIN

    def begin(self, index: int) -> None:
        """
        Have a test examined.

        Raises:
            ValueError: If nothing can be examined now: the child asked out of order.
        """
        if self._examiner is None or self._examiner.busy or self.verdict is not None:
            raise ValueError("report out of order")
        self._examiner.begin({"test": index, **self._request}, self._examiners_ends)
        self._examiners_ends = _closed(self._examiners_ends)  # so that each side sees when the other is gone

    def hear(self, wait_s: float = 0.0) -> None:
        """Take the verdict if there is one."""
        assert self._examiner is not None
        verdict = self._examiner.verdict(wait_s)
        if verdict is not None:
            self.verdict = verdict
            self._is_used_up |= "memory" in verdict

    def cpu_s(self) -> float:
        """CPU seconds of the test that is under way; 0 if there is none."""
        return self._examiner.cpu_s() if self._examiner is not None and self._examiner.busy else 0.0

    def waited_s(self) -> float:
        """Seconds in which the machine was too busy to run the examiner."""
        return 0.0 if self._examiner is None else self._examiner.waited_s()

    def settle(self, wait_s: float) -> None:
        """Leave nothing under way: the child is gone."""
        if self.is_under_way:
            self.hear(wait_s)
        if self.is_under_way or self._is_used_up:
            self._end_examiner()

    def stop(self, poll: select.poll) -> None:
        """End an examiner that does not come to an end."""
        if self.is_under_way:
            assert self._examiner is not None
            poll.unregister(self._examiner)
            self._end_examiner()
            self._examiner.busy = False

    # What wakes the server

    def watch_for_end(self, poll: select.poll) -> None:
        """Wake when the examiner ends."""
        if self._examiner is not None:
            poll.register(self._examiner, 0)

    def watch_for_verdict(self, poll: select.poll) -> None:
        """Wake when the examiner has its verdict."""
        if self.is_under_way:
            assert self._examiner is not None
            poll.modify(self._examiner, select.POLLIN)

    def is_descriptor(self, descriptor: int) -> bool:
        """Whether a descriptor is the examiner's."""
        return self._examiner is not None and descriptor == self._examiner.fileno()


def _closed(descriptors: tuple[int, ...]) -> tuple[int, ...]:
    for descriptor in descriptors:
        os.close(descriptor)
    return ()
