"""Manage the examination of one child in the fork server: pipes, requests to the examiner, and its verdicts."""

from __future__ import annotations

import os
import select

from stepcoder_trl.executor.server.fork_server import ForkServer
from stepcoder_trl.executor.wire.frames import Channel
from stepcoder_trl.executor.wire.messages import UNEXAMINABLE, ExaminationRequest, JobMessage, Verdict


_QUESTION_BYTES = 2**30


class Examination:
    """
    Examination of one child process. Does nothing if the tests need no examiner.

    The child reports when it has answered all questions of a test. By then the verdict has arrived. So the examiner
    needs to wake the server only if it ends, or if the child can no longer report.

    Args:
        server (`ForkServer`): The fork server, which has the examiner.
        job (`JobMessage`): The job.
        max_answer_bytes (`int`): Maximum length of an answer. A longer one counts as garbage.

    Attributes:
        verdict (`Verdict`, *optional*): Verdict on the current test.
    """

    def __init__(self, server: ForkServer, job: JobMessage, max_answer_bytes: int) -> None:
        self.verdict: Verdict | None = None
        self._server = server
        self._examiner = server.running_examiner() if job["checks_bytes"] else None
        self._checks_bytes = job["checks_bytes"]
        self._max_answer_bytes = max_answer_bytes
        self._is_used_up = False
        self._childs_ends: tuple[int, ...] = ()
        self._examiners_ends: tuple[int, ...] = ()

    # The pipes between child and examiner

    def connect(self) -> Channel | None:
        """Create the pipes. Call it before the fork. Return the child's channel."""
        if self._examiner is None:
            return None
        questions_read, questions_write = os.pipe()
        answers_read, answers_write = os.pipe()
        self._childs_ends = questions_read, answers_write
        self._examiners_ends = questions_write, answers_read
        return Channel(questions_read, answers_write, _QUESTION_BYTES)

    def leave_to_child(self) -> None:
        """Close the child's ends in the server, so that the examiner notices when the child ends."""
        self._childs_ends = _closed(self._childs_ends)

    def close_in_child(self) -> None:
        """Close the examiner's ends in the child."""
        self._examiners_ends = _closed(self._examiners_ends)

    def close(self) -> None:
        """Close all open ends."""
        self._childs_ends = _closed(self._childs_ends)
        self._examiners_ends = _closed(self._examiners_ends)

    # The course of an examination

    @property
    def is_running(self) -> bool:
        """Return whether a test is being examined."""
        return self._examiner is not None and self._examiner.busy

    @property
    def is_impossible(self) -> bool:
        """Return whether the examiner cannot send the arguments of the test."""
        return self.verdict is not None and self.verdict.get("aborted") == UNEXAMINABLE

    def begin(self, index: int) -> None:
        """
        Start the examination of a test.

        Raises:
            ValueError: If the child asked for it out of order.
        """
        if self._examiner is None or self._examiner.busy or self.verdict is not None:
            raise ValueError("report out of order")
        request = ExaminationRequest(test=index, size=self._checks_bytes, max_bytes=self._max_answer_bytes)
        self._examiner.begin(request, self._examiners_ends)
        self._examiners_ends = _closed(self._examiners_ends)  # so that each side notices when the other ends

    def receive_verdict(self, wait_s: float = 0.0) -> None:
        """Receive the verdict, if there is one."""
        assert self._examiner is not None
        verdict = self._examiner.verdict(wait_s)
        if verdict is not None:
            self.verdict = verdict
            self._is_used_up |= "memory" in verdict

    def cpu_s(self) -> float:
        """Return the examiner's CPU seconds for the current test. 0 if there is none."""
        return self._examiner.cpu_s() if self._examiner is not None and self._examiner.busy else 0.0

    def waited_s(self) -> float:
        """Return the seconds in which the machine was too busy to run the examiner."""
        return 0.0 if self._examiner is None else self._examiner.waited_s()

    def finish(self, wait_s: float) -> None:
        """Finish the examination after the child has ended. Kill the examiner if it does not finish in time."""
        if self.is_running:
            self.receive_verdict(wait_s)
        if self.is_running or self._is_used_up:
            self._server.end_examiner()

    def stop(self, poll: select.poll) -> None:
        """Kill an examiner that does not finish."""
        if self.is_running:
            assert self._examiner is not None
            poll.unregister(self._examiner)
            self._server.end_examiner()
            self._examiner.busy = False

    # Events that wake the server

    def watch_for_end(self, poll: select.poll) -> None:
        """Wake the server when the examiner ends."""
        if self._examiner is not None:
            poll.register(self._examiner, 0)

    def watch_for_verdict(self, poll: select.poll) -> None:
        """Wake the server when the examiner has a verdict."""
        if self.is_running:
            assert self._examiner is not None
            poll.modify(self._examiner, select.POLLIN)

    def is_descriptor(self, descriptor: int) -> bool:
        """Return whether a descriptor is the examiner's."""
        return self._examiner is not None and descriptor == self._examiner.fileno()


def _closed(descriptors: tuple[int, ...]) -> tuple[int, ...]:
    for descriptor in descriptors:
        os.close(descriptor)
    return ()
