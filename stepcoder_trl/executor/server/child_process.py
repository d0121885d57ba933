"""Fork a child for tests of a job: its files, its pipes and its process."""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Sequence
from typing import NoReturn

from stepcoder_trl.executor.child import run as child
from stepcoder_trl.executor.child.tracer import LineTracer, SharedLineTracer
from stepcoder_trl.executor.server.examination import Examination
from stepcoder_trl.executor.server.fork_server import MAX_CPU_S, ForkServer, send_signal
from stepcoder_trl.executor.wire.frames import frame
from stepcoder_trl.executor.wire.messages import CHILD_GO, CHILD_STOP, JobMessage


class ChildProcess:
    """
    Process that runs tests of a job.

    Args:
        server (`ForkServer`): The fork server.
        job (`JobMessage`): The job.
        first (`int`): Index of the first test.
        inputs (`Sequence[str]`): Standard input of each test of a stdio job, else one text.

    Attributes:
        pid (`int`): Process id.
        reports (`int`): Descriptor that the child's reports arrive at.
    """

    def __init__(self, server: ForkServer, job: JobMessage, first: int, inputs: Sequence[str]) -> None:
        self._server = server
        self._job = job
        self._first = first
        self._stdin_fds = [server.system.memory_file("stdin", text) for text in inputs]
        self._stdout_fds = [server.system.memory_file("stdout") for _ in inputs]
        self._pipes: tuple[int, ...] = ()
        self.pid = 0
        self.reports = self._gate = -1

    def fork(self, tracer: LineTracer | SharedLineTracer, examination: Examination, waits: bool) -> None:
        """
        Fork the child.

        Args:
            tracer (`LineTracer` or `SharedLineTracer`): Records the lines that run.
            examination (`Examination`): Connection of the child to the examiner.
            waits (`bool`): Whether the child waits for `answer` after each test.

        Raises:
            OSError: If the system has no process for it.
        """
        self.reports, report_write = os.pipe()
        gate_read, self._gate = os.pipe()
        self._pipes = self.reports, self._gate
        theirs = report_write, gate_read
        task = child.ChildTask(
            job=self._job,
            filename=self._server.filename,
            first=self._first,
            report_fd=report_write,
            gate_fd=gate_read if waits else None,
            stdin_fds=self._stdin_fds,
            stdout_fds=self._stdout_fds,
            soft_signal=self._server.hardening.soft_signal,
            modules=self._server.modules,
            progress=self._server.progress,
            tracer=tracer,
            examiner=examination.connect(),
        )
        self._server.progress.clear()
        try:
            self.pid = os.fork()
            if self.pid == 0:
                self._become_child(task, examination)
        finally:
            for descriptor in theirs:
                os.close(descriptor)
            examination.leave_to_child()

    def _become_child(self, task: child.ChildTask, examination: Examination) -> NoReturn:
        try:
            for descriptor in self._pipes:
                os.close(descriptor)
            examination.close_in_child()
            self._server.close_in_child()
            report = child.begin(task)
            self._server.hardening.enter_child(
                memory_limit_bytes=self._job["memory_limit_bytes"],
                cpu_limit_s=math.ceil(min(self._job["program_cpu_s"], MAX_CPU_S)) + 2,
                file_limit_bytes=self._job["max_output_bytes"] + 1,
                open_files=2 * len(self._stdin_fds) + 64,
            )
        except BaseException as error:
            with contextlib.suppress(OSError):
                os.write(task.report_fd, frame({"not_started": f"{type(error).__name__}: {error}"}))
            os._exit(1)
        child.main(task, report)

    def answer(self, goes_on: bool) -> None:
        """Let a child that waits after a test run the next one, or end."""
        with contextlib.suppress(BrokenPipeError):
            os.write(self._gate, CHILD_GO if goes_on else CHILD_STOP)

    def output_size(self, offset: int) -> int:
        """Return the size of the standard output of a test, counted from the first test."""
        return os.fstat(self._stdout_fds[offset]).st_size

    def output(self, offset: int) -> bytes:
        """Return the standard output of a test."""
        return os.pread(self._stdout_fds[offset], self.output_size(offset), 0)

    def clear_output(self, offset: int) -> None:
        """Delete the standard output of a test."""
        os.ftruncate(self._stdout_fds[offset], 0)

    def signal(self, number: int) -> None:
        """Send a signal to the child, if it still exists."""
        send_signal(self.pid, number)

    def reap(self) -> tuple[int, float]:
        """Kill the child and its descendants. Return its wait status and CPU seconds."""
        return self._server.reap(self.pid)

    def close(self) -> None:
        """Close all descriptors."""
        for descriptor in (*self._pipes, *self._stdin_fds, *self._stdout_fds):
            os.close(descriptor)
        self._pipes = ()
