"""Check a child's reports, and store the results of its tests in the state of the job."""

from __future__ import annotations

import os
import signal
import time
from base64 import b64encode
from enum import Enum, auto
from typing import Any

from stepcoder_trl.executor.server.child_process import ChildProcess, Exit
from stepcoder_trl.executor.server.clock import Clock
from stepcoder_trl.executor.server.examination import Examination
from stepcoder_trl.executor.server.fork_server import ForkServer, Job
from stepcoder_trl.executor.server.supervise import Supervision
from stepcoder_trl.executor.wire.line_sets import bits_of, packed
from stepcoder_trl.executor.wire.messages import (
    EXIT_REPORT_FAILED,
    GO,
    ChildReport,
    Lines,
    ModuleError,
    NotStarted,
    OutOfMemory,
    Reply,
    Result,
    TestAnnounced,
    TestReport,
)
from stepcoder_trl.executor.wire.text import one_line


_ERROR_KEYS = frozenset({"error", "memory", "line"})
_STDIO_KEYS = _ERROR_KEYS | {"output", "base64"}
_VALUE_KEYS = _ERROR_KEYS | {"value", "passed", "assertion_error"}
_TEXT_KEYS = frozenset({"error", "memory", "assertion_error"})
_BROKEN = "the program broke its process"
# What parts of a value count beside their text, because objects take much more memory. `_KEPT_PER_BYTE` of
# `verdict/prepare.py` leaves room for it.
_CONTAINER_BYTES, _QUOTE_BYTES, _COMMA_BYTES = 16, 16, 8


class ChildNotStarted(OSError):
    """Raised if a child failed before it ran code of the program: an infrastructure failure, not an outcome."""


class KilledFromOutside(Exception):
    """Raised if somebody else killed a child: an infrastructure failure. A program cannot kill its own process."""


class DiskLost(OSError):
    """Raised if other programs filled the disk while a child ran."""


class JobState:
    """State of one job, which its children change one after the other."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.examined = frozenset(job.header["examined"])  # tests that the examiner judges
        self.results: list[Result | None] = [None] * len(job.tests)
        self.kept_bytes = 0  # of all outputs and reports together
        self.cpu_s = 0.0
        self.compile_s = 0.0  # CPU seconds until a child had compiled the program
        self.lines_again_cpu_s = 0.0  # of runs that are repeated for their lines
        self.disk_full = False
        self.needs_process_per_test = job.header["fresh_process_per_test"]
        self.wall_deadline = time.monotonic() + job.header["program_wall_s"]
        # Even if the machine was too busy to run the tests.
        self.hard_deadline = time.monotonic() + job.header["hard_wall_s"]
        self.num_lines = job.program.count(b"\n") + job.program.count(b"\r") + 2
        self._lines: set[int] = set()
        self._lines_known = True
        self._ran: list[int | None] = [0] * len(job.tests)  # lines that ran for each test, as bits; `None`: unknown

    def reply(self) -> Reply:
        """Return the message to the caller."""
        return {
            "tests": self.results,
            "lines": sorted(self._lines) if self._lines_known else None,
            "ran": [None if bits is None else f"{bits:x}" for bits in self._ran],
            "cpu_s": self.cpu_s,
            "compile_s": self.compile_s,
            "disk_full": self.disk_full,
        }

    @property
    def has_too_much(self) -> bool:
        """Return whether fork server and caller would have to hold too much data of the program."""
        return self.kept_bytes > self.job.header["max_kept_bytes"]

    @property
    def too_much(self) -> str:
        """Return the message of a test after which there is too much data."""
        return f"wrote or returned more than {self.job.header['max_kept_bytes']} bytes in all tests together"

    @property
    def max_report_bytes(self) -> int:
        """Return the maximum length of a child's report."""
        return 2 * self.job.header["max_output_bytes"] + 65_536

    def fill(self, first: int, result: Result, cpu_s: float = 0.0) -> None:
        """Give the tests from `first` on one result. The CPU seconds count for the first of them."""
        for index in range(first, len(self.results)):
            self.results[index] = {**result, "cpu_s": cpu_s if index == first else 0.0}

    def add_lines(self, lines: Any, tests: range = range(0)) -> None:
        """
        Add lines that ran, and ran for each of `tests`.

        If they are not a list of lines of the program, all of its lines are unknown.
        """
        if isinstance(lines, list) and all(type(line) is int and 0 < line <= self.num_lines for line in lines):
            self._lines.update(lines)
            if tests:
                ran = packed(lines)
                for index in tests:
                    self.add_lines_of_test(index, ran)
        else:
            self._lines_known = False

    def add_lines_of_test(self, index: int, ran: Any) -> None:
        """Add lines that ran for one test. If they are no set of lines, those of the test are unknown."""
        bits, before = bits_of(ran), self._ran[index]
        self._ran[index] = None if bits is None or before is None else before | bits


class ProgramPhase(Enum):
    """Phases of a child."""

    COMPILE = auto()
    MODULE = auto()  # call and assert jobs: the module level runs
    TESTS = auto()
    FAILED = auto()  # the module level failed, and no test runs
    EXIT = auto()  # the program called `os._exit`


class Reports:
    """Listener for the reports of one child. It checks them, and stores the results of the child's `tests`."""

    def __init__(
        self,
        server: ForkServer,
        state: JobState,
        child: ChildProcess,
        clock: Clock,
        examination: Examination,
        tests: range,
    ) -> None:
        self.next = tests.start  # first test that has no result
        self._first, self._last = tests.start, tests.stop
        self._phase = ProgramPhase.COMPILE
        self._has_ended = False  # whether the child reported how it ended and which lines ran
        self._out_of_memory_at: int | None = None  # test at which the child had no memory left, and ended
        self._server = server
        self._state = state
        self._header = state.job.header
        self._is_stdio = self._header["type"] == "stdio"
        self._is_expired = False
        self._child = child
        self._clock = clock
        self._examination = examination

    @property
    def is_done(self) -> bool:
        has_ended = self._has_ended or self._out_of_memory_at is not None
        return has_ended and self._phase is not ProgramPhase.EXIT and self._first < self.next

    def read_progress(self) -> None:
        if self._phase is ProgramPhase.COMPILE and (moment := self._server.beginning.moment("compiled")):
            self._phase = ProgramPhase.MODULE
            self._state.compile_s = max(self._state.compile_s, moment[0])
            if self._is_stdio:
                self._phase = ProgramPhase.TESTS
                self._clock.begin_then(*moment)
        if self._phase is ProgramPhase.MODULE and (moment := self._server.claims.moment("ready")):
            self._phase = ProgramPhase.TESTS
            self._clock.begin_then(*moment)

    def expire(self) -> None:
        self._is_expired = True

    def count(self, data: bytes) -> None:
        if self._phase is not ProgramPhase.COMPILE:
            self._state.kept_bytes += counted_bytes(data, self._is_stdio)
            if self._state.has_too_much:
                raise OverflowError("too much in all")

    def receive(self, report: ChildReport) -> None:
        if self._has_ended or self._out_of_memory_at is not None:
            return
        if "examine" in report:
            self._begin_examination(report["examine"])
        elif "test" in report:
            self._finish_reported_test(report)
        elif "compile_error" in report:
            if self._phase is not ProgramPhase.COMPILE:
                raise ValueError("report out of order")
            if self._is_expired:
                return
            claim: Result = {"compile_error": _text(report["compile_error"]), "line": _line(report["line"])}
            self._fill_all(claim)
        elif "end" in report:
            self._end(report["end"], self.next - 1)
        elif "soft_limit" in report:
            self._end(report["soft_limit"], self.next)
        elif "exit" in report:
            self._end(report["exit"], self.next)
            self._phase = ProgramPhase.EXIT
        else:
            self._receive_failure(report)

    def _receive_failure(self, report: NotStarted | ModuleError | OutOfMemory) -> None:
        if "not_started" in report and not self._server.beginning.moment("confined"):
            raise ChildNotStarted(str(report["not_started"]))
        if "module_error" in report and self._phase is ProgramPhase.MODULE:
            result = _checked(report["module_error"], _ERROR_KEYS)
            if not self._is_expired:
                self._fill_rest(result, self._clock.begin())
                self._phase = ProgramPhase.FAILED
        elif "out_of_memory" in report and self.next < self._last:
            self._run_out_of_memory()
        else:
            raise ValueError("unknown report")

    def _run_out_of_memory(self) -> None:
        """Store the result of a child that has no memory left for its reports, and ends."""
        if self._is_expired:
            return
        self._out_of_memory_at = self.next
        if self._phase is not ProgramPhase.TESTS:
            self._fill_rest({"memory": "MemoryError"}, self._clock.begin())
            return
        self._finish_test({"memory": "MemoryError"}, self._clock.begin())
        if self._header["waits_for_verdicts"]:
            self._may_go_on()

    def _end(self, lines: Lines, index: int) -> None:
        """Add the last lines of the child: those of the test `index`, or of the module level."""
        tests = range(self._first, len(self._state.results))
        if self._phase not in (ProgramPhase.MODULE, ProgramPhase.FAILED):
            last = min(max(index, self._first), self._last - 1)
            tests = range(last, last + 1)
        self._state.add_lines(lines, tests)
        self._has_ended = True

    def _finish_reported_test(self, report: TestReport) -> None:
        if report["test"] != self.next or self._phase is not ProgramPhase.TESTS or self.next >= self._last:
            raise ValueError("report out of order")
        result = report["result"]
        if self.next in self._state.examined:
            result = self._examined_result(result)
        result = _checked(result, _STDIO_KEYS if self._is_stdio else _VALUE_KEYS)
        self._state.add_lines(report["lines"])
        self._state.add_lines_of_test(self.next, report.get("ran"))
        if self._is_expired:
            return
        self._finish_test(result, self._clock.begin())
        if self._header["waits_for_verdicts"]:
            self._child.answer(self._may_go_on())
            self._clock.begin()

    # Tests that the examiner judges

    def _begin_examination(self, index: int) -> None:
        in_order = index == self.next < self._last and self._phase is ProgramPhase.TESTS
        if not in_order or index not in self._state.examined:
            raise ValueError("report out of order")
        self._examination.begin(index)

    def _examined_result(self, result: Result) -> Result:
        """Return the examiner's verdict, or the error that kept the program from answering any question."""
        if self._examination.is_running:
            self._examination.receive_verdict()
        verdict = self._examination.verdict
        if verdict is None and not self._examination.is_running and result.keys() <= _ERROR_KEYS:
            return result
        if result != {"answered": True} or verdict is None or "aborted" in verdict:
            raise ValueError("report out of order")
        return verdict

    # Results

    def _may_go_on(self) -> bool:
        """Ask the caller about the test that was finished last. If it refuses, the remaining tests are not run."""
        last = self.next - 1
        self._server.send(TestAnnounced(test=last, result=self._state.results[last]))
        if self._server.receive() == GO:
            return True
        self._fill_rest({"not_run": True})
        return False

    def _fill_all(self, result: Result) -> None:
        self._state.fill(0, result)
        self.next = len(self._state.results)
        self._has_ended = True

    def _fill_rest(self, result: Result, cpu_s: float = 0.0) -> None:
        self._state.fill(self.next, result, cpu_s)
        self.next = len(self._state.results)

    def _finish_test(self, result: Result, cpu_s: float) -> None:
        """Store the next test's result."""
        if self._state.has_too_much:
            result = {"error": self._state.too_much}
        if cpu_s > self._header["timeout_s"]:  # the child was faster than the signal of the limit
            result = {"timeout": True}
        self._state.results[self.next] = {**result, "cpu_s": cpu_s}
        self.next += 1
        self._examination.verdict = None

    # The end of the child

    def conclude(self, end: Exit, supervision: Supervision) -> int | None:
        """
        Account for the end of the child. Return the test at which it died without a report of its lines.

        Raise an exception if the end is not the program's doing.
        """
        self._check_end(end, supervision)
        state = self._state
        state.wall_deadline += end.waited_s
        state.cpu_s += end.cpu_s
        state.disk_full |= end.disk_full and not end.filled_disk
        died_at = self.next if self._out_of_memory_at is None else self._out_of_memory_at
        has_said_all = self.is_done and not supervision.expired
        if self.next < self._last and not has_said_all:
            result = self._result_of_death(end.status, supervision)
            self._finish_last_test(result, max(end.cpu_s - self._clock.cpu_start, 0.0))
        if not self._has_ended:
            return min(died_at, len(state.results) - 1)
        if not supervision.expired and self._first < self.next < self._last:
            state.needs_process_per_test = True  # the program changed state that the next test would see
        return None

    def _check_end(self, end: Exit, supervision: Supervision) -> None:
        """Raise an exception if the child's end is an infrastructure failure."""
        if supervision.lost_disk and not end.filled_disk:
            raise DiskLost("other programs filled the disk")
        killed = os.WIFSIGNALED(end.status) and os.WTERMSIG(end.status) == signal.SIGKILL
        if not self._server.beginning.moment("confined") and not supervision.expired:
            if killed and not supervision.has_killed:
                raise KilledFromOutside("somebody else killed a child before its program started")
            raise ChildNotStarted(f"a child ended before its program started, wait status {end.status}")
        by_kernel = end.cpu_s >= self._header["program_cpu_s"]  # the last resort against endless programs
        if killed and not supervision.has_killed and not by_kernel and self._server.hardening.layers["seccomp"]:
            raise KilledFromOutside("somebody else killed a program's process")

    def _finish_last_test(self, result: Result, cpu_s: float) -> None:
        """Store the result of the test that ran when the child ended."""
        if self._phase is ProgramPhase.COMPILE and result.get("error") == _BROKEN:
            self._fill_all({"memory": "no memory to begin with"})
        elif self._phase is ProgramPhase.COMPILE and "timeout" not in result:
            self._fill_all({"compile_error": f"the compiler died: {result.get('error', '')}", "line": None})
        elif self._phase in (ProgramPhase.COMPILE, ProgramPhase.MODULE) and not self._is_stdio:
            self._fill_rest(result, cpu_s)
        else:
            self._finish_test(result, cpu_s)
            if self._header["waits_for_verdicts"]:
                self._may_go_on()

    def _result_of_death(self, status: int, supervision: Supervision) -> Result:
        """Return the result of a test during which the child ended."""
        verdict = self._examination.verdict
        if supervision.misuse is not None:
            return {"error": supervision.misuse.value}
        if verdict is not None and "aborted" not in verdict and not supervision.expired:
            return verdict  # what the program does after its last answer changes nothing
        if supervision.expired or (os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGXCPU):
            return {"timeout": True}
        if os.WIFSIGNALED(status):
            return {"error": f"killed by {_signal_name(os.WTERMSIG(status))}"}
        if os.WEXITSTATUS(status) == EXIT_REPORT_FAILED:
            return {"error": _BROKEN}
        return self._output() if self._is_stdio else {"error": "the program ended without an answer"}

    def _output(self) -> Result:
        """Return what a child wrote to standard output that ended without a report."""
        size, limit = os.fstat(self._child.stdout).st_size, self._header["max_output_bytes"]
        self._state.kept_bytes += size
        if size > limit:
            return {"error": f"wrote more than {limit} bytes to standard output"}
        return {"base64": b64encode(os.pread(self._child.stdout, size, 0)).decode()}


def counted_bytes(data: bytes, is_stdio: bool) -> int:
    """Return what a part of a report counts, as output and by the objects that it becomes."""
    size = len(data) + _CONTAINER_BYTES * (data.count(b"[") + data.count(b"{"))
    if not is_stdio:  # what a stdio test printed is one text, whatever is in it
        size += _QUOTE_BYTES * data.count(b'"') + _COMMA_BYTES * data.count(b",")
    return size * 3 // 4  # of output, base64 makes four bytes of three


def _checked(result: Result, allowed: frozenset[str]) -> Result:
    """
    Return a result with short descriptions of errors.

    One that holds for all tests is repeated for each, so a long one would take the memory of server and caller.
    """
    if not result or not result.keys() <= allowed:
        raise ValueError("unknown claim")
    if not all(isinstance(text, str) for text in (result.get("output", ""), result.get("base64", ""))):
        raise ValueError("an output that is no text")
    checked = result.copy()
    texts: Any = {key: _text(value) for key, value in result.items() if key in _TEXT_KEYS}
    checked.update(texts)
    if "line" in checked:
        checked["line"] = _line(checked["line"])
    return checked


def _text(claim: Any) -> str:
    return one_line(str(claim))


def _line(claim: Any) -> int | None:
    return claim if type(claim) is int and 0 < claim < 2**31 else None


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # real-time signals have no names of their own
        return f"signal {number}"
