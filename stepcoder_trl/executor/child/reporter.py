"""Send a child's reports to the fork server."""

from __future__ import annotations

import os
import sys
from base64 import b64encode

from stepcoder_trl.executor.child.task import ChildTask
from stepcoder_trl.executor.wire.frames import frame, write_all
from stepcoder_trl.executor.wire.line_sets import packed
from stepcoder_trl.executor.wire.messages import CHILD_GO, ChildReport, Result, TestReport


# Made before the fork, for children that have no memory left to make it.
_OUT_OF_MEMORY = frame({"out_of_memory": True})
_MAX_TEXT_BYTES = 2**16  # of an output that is sent as text: an escaped character of JSON has up to six bytes

_exit = os._exit
_read, _pread, _lseek, _ftruncate, _getpid = os.read, os.pread, os.lseek, os.ftruncate, os.getpid


class Reporter:
    """Sender of a child's reports."""

    def __init__(self, task: ChildTask) -> None:
        self._fd = task.streams.report
        self._gate = task.streams.connection if task.job["waits_for_verdicts"] else None
        self._task = task
        self._busy = False
        self._traced = False
        self._sent: set[int] = set()
        self._of_module: frozenset[int] = frozenset()  # lines that ran for all tests of this child
        self._held = b""

    def end_at_soft_limit(self) -> None:
        """Report the lines that ran, and end. Do nothing while a report is being sent."""
        if not self._busy:
            self.send({"soft_limit": self.trace()})
            _exit(0)

    def replace_exit(self) -> None:
        """Report before `os._exit`, which skips the interpreter."""

        def exit_with_report(status: int = 0) -> None:
            if not self._busy and _getpid() == own_pid:
                self.send({"exit": self.trace()})
            _exit(status)

        own_pid = _getpid()
        os._exit = exit_with_report  # type: ignore[assignment]
        sys.modules["posix"]._exit = exit_with_report  # type: ignore[attr-defined]

    def start_trace(self) -> None:
        """Start to record lines."""
        self._task.tracer.start()
        self._traced = True

    def keep_module_lines(self) -> None:
        """Add the lines that ran until now to those of every test."""
        self._of_module = frozenset(self.trace() or ())

    def trace(self) -> list[int] | None:
        """Return the lines that ran for this test. `None` if the trace was lost. Empty before the program starts."""
        if not self._traced:
            return []
        tracer = self._task.tracer
        lines = tracer.lines()
        # A program that finds the tracer can put a function in the method's place. It cannot hide what ran behind the
        # lines of the module.
        if not lines and type(tracer).lines(tracer):
            return None
        return None if lines is None else [*self._of_module.union(lines)]

    def send(self, message: ChildReport) -> None:
        """Send a report, after the one that was held back."""
        self._busy = True
        held, self._held = self._held, b""
        write_all(self._fd, held + frame(message))
        self._busy = False

    def output(self) -> Result:
        """Return what the test wrote to standard output, as the result of a stdio test."""
        stdout, limit = self._task.streams.stdout, self._task.job["max_output_bytes"]
        size = _lseek(stdout, 0, os.SEEK_END)
        if size > limit:
            return {"error": f"wrote more than {limit} bytes to standard output"}
        data = _pread(stdout, size, 0)
        if size <= _MAX_TEXT_BYTES and data.isascii():
            return {"output": data.decode()}
        return {"base64": b64encode(data).decode()}

    def drop_output(self) -> Result | None:
        """Delete what the test wrote to standard output. Return the result of the test if that was too much."""
        stdout, limit = self._task.streams.stdout, self._task.job["max_output_bytes"]
        size = _lseek(stdout, 0, os.SEEK_END)
        if size:
            _ftruncate(stdout, 0)
            _lseek(stdout, 0, os.SEEK_SET)
        return {"error": f"wrote more than {limit} bytes to standard output"} if size > limit else None

    def test(self, index: int, is_last: bool, result: Result) -> None:
        """
        Report one test. If the job says so, wait until the caller has judged it.

        The last test's report is held back and sent with the next report, so that the server is woken only once.
        """
        self._task.tracer.pause()
        lines = self.trace()
        ran = None
        if lines is not None:
            ran = packed(lines)
            lines = [line for line in lines if line not in self._sent]
            self._sent.update(lines)
        message: TestReport = {"test": index, "lines": lines, "ran": ran, "result": result}
        if is_last and self._gate is None:
            self._held = frame(message)
            return
        self.send(message)
        if self._gate is not None and _read(self._gate, 1) != CHILD_GO:
            self.send({"end": self.trace()})
            _exit(0)
        self._task.tracer.forget()
        self._task.tracer.resume()

    def out_of_memory(self) -> None:
        """Report that no memory is left, and end."""
        self._task.inherited.reserve.close()
        write_all(self._fd, self._held + _OUT_OF_MEMORY)
        _exit(0)
