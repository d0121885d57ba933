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
from stepcoder_trl.executor.server.fork_server import ForkServer
from stepcoder_trl.executor.server.supervise import Action, Supervision
from stepcoder_trl.executor.wire.messages import (
    EXIT_REPORT_FAILED,
    GO,
    ChildReport,
    JobMessage,
    Lines,
    ModuleError,
    NotStarted,
    OutOfMemory,
    Reply,
    Result,
    TestAnnounced,
    TestReport,
)


_ERROR_KEYS = frozenset({"error", "memory", "line"})
_STDIO_KEYS = _ERROR_KEYS | {"ended"}
_VALUE_KEYS = _ERROR_KEYS | {"value", "passed", "assertion_error"}
_BROKEN = "the program broke its process"


class ChildNotStarted(OSError):
    """Raised if a child failed before it ran code of the program: an infrastructure failure, not an outcome."""


class JobState:
    """State of one job, which its children change one after the other."""

    def __init__(self, job: JobMessage) -> None:
        self.job = job
        self.results: list[Result | None] = [None] * len(job["tests"])
        self.kept_bytes = 0  # of all outputs and reports together
        self.cpu_s = 0.0
        self.lines_again_cpu_s = 0.0  # of runs that are repeated for their lines
        self.was_repeated = False  # because somebody else killed the child
        self.needs_process_per_test = job["fresh_process_per_test"]
        self.wall_deadline = time.monotonic() + job["program_wall_s"]
        self.hard_deadline = time.monotonic() + job["hard_wall_s"]  # even if the machine was too busy to run the tests
        self.is_unexaminable = False
        self._lines: set[int] = set()
        self._lines_known = True

    def reply(self) -> Reply:
        """Return the message to the caller."""
        lines = sorted(self._lines) if self._lines_known else None
        return {"tests": self.results, "lines": lines, "cpu_s": self.cpu_s}

    @property
    def has_too_much(self) -> bool:
        """Return whether fork server and caller would have to hold too much data of the program."""
        return self.kept_bytes > self.job["max_kept_bytes"]

    @property
    def too_much(self) -> str:
        """Return the message of a test after which there is too much data."""
        return f"wrote or returned more than {self.job['max_kept_bytes']} bytes in all tests together"

    @property
    def max_report_bytes(self) -> int:
        """Return the maximum length of a child's report."""
        return 2 * self.job["max_output_bytes"] + 65_536

    def fill(self, first: int, result: Result, cpu_s: float = 0.0) -> None:
        """Give the tests from `first` on one result. The CPU seconds count for the first of them."""
        for index in range(first, len(self.results)):
            self.results[index] = {**result, "cpu_s": cpu_s if index == first else 0.0}

    def add_lines(self, lines: Any) -> None:
        """Add lines that ran. If they are not a list of numbers, the lines of the program are unknown."""
        if isinstance(lines, list) and all(type(line) is int for line in lines):
            self._lines.update(lines)
        else:
            self._lines_known = False


class ProgramPhase(Enum):
    """Phases of a child."""

    COMPILE = auto()
    MODULE = auto()  # call and assert jobs: the module level runs
    TESTS = auto()
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
        self._server = server
        self._state = state
        self._job = state.job
        self._is_stdio = state.job["type"] == "stdio"
        self._child = child
        self._clock = clock
        self._examination = examination

    @property
    def is_done(self) -> bool:
        return self._has_ended and self._phase is not ProgramPhase.EXIT and self._first < self.next

    def read_progress(self) -> None:
        if self._phase is ProgramPhase.COMPILE and (moment := self._server.progress.moment("compiled")):
            self._phase = ProgramPhase.MODULE
            if self._is_stdio:
                self._phase = ProgramPhase.TESTS
                self._clock.begin_then(*moment)
        if self._phase is ProgramPhase.MODULE and (moment := self._server.progress.moment("ready")):
            self._phase = ProgramPhase.TESTS
            self._clock.begin_then(*moment)

    def count(self, size: int) -> None:
        if self._phase is not ProgramPhase.COMPILE:
            self._state.kept_bytes += size
            if self._state.has_too_much:
                raise OverflowError("too much in all")

    def receive(self, report: ChildReport) -> None:
        if self._has_ended:
            return
        if "examine" in report:
            self._begin_examination(report["examine"])
        elif "test" in report:
            self._finish_reported_test(report)
        elif "compile_error" in report:
            self._fill_all({"compile_error": str(report["compile_error"]), "line": report["line"]})
        elif "end" in report:
            self._end(report["end"])
        elif "soft_limit" in report:
            self._end(report["soft_limit"])
        elif "exit" in report:
            self._end(report["exit"])
            self._phase = ProgramPhase.EXIT
        else:
            self._receive_failure(report)

    def _receive_failure(self, report: NotStarted | ModuleError | OutOfMemory) -> None:
        if "not_started" in report and self._phase is ProgramPhase.COMPILE:
            raise ChildNotStarted(str(report["not_started"]))
        if "module_error" in report and self._phase is ProgramPhase.MODULE:
            self._fill_rest(_checked(report["module_error"], _ERROR_KEYS), self._clock.begin())
        elif "out_of_memory" in report and self.next < self._last:
            self._finish_test({"memory": "MemoryError"}, self._clock.begin())
        else:
            raise ValueError("unknown report")

    def _end(self, lines: Lines) -> None:
        self._state.add_lines(lines)
        self._has_ended = True

    def _finish_reported_test(self, report: TestReport) -> None:
        if report["test"] != self.next or self._phase is not ProgramPhase.TESTS or self.next >= self._last:
            raise ValueError("report out of order")
        result = report["result"]
        if is_examined(self._job, self.next):
            result = self._examined_result(result)
        _checked(result, _STDIO_KEYS if self._is_stdio else _VALUE_KEYS)
        self._state.add_lines(report["lines"])
        self._finish_test(result, self._clock.begin())
        if self._job["waits_for_verdicts"]:
            self._child.answer(self._may_go_on())
            self._clock.begin()

    # Tests that the examiner judges

    def _begin_examination(self, index: int) -> None:
        in_order = index == self.next < self._last and self._phase is ProgramPhase.TESTS
        if not in_order or not is_examined(self._job, index):
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
        """Store the next test's result, with its output for stdio tests."""
        stdout = self._child.stdout_fds[self.next - self._first if self._is_stdio else 0]
        size = os.fstat(stdout).st_size
        needs_output = self._is_stdio and "ended" in result
        if needs_output:
            self._state.kept_bytes += size
        if size > self._job["max_output_bytes"]:
            result = {"error": f"wrote more than {self._job['max_output_bytes']} bytes to standard output"}
        elif self._state.has_too_much:
            result = {"error": self._state.too_much}
        elif needs_output:
            data = os.pread(stdout, size, 0)
            # As JSON text, an escaped byte would be six characters.
            result = {"output": data.decode()} if data.isascii() else {"base64": b64encode(data).decode()}
        if not self._is_stdio:
            os.ftruncate(stdout, 0)  # the next test has the same file
        self._state.results[self.next] = {**result, "cpu_s": cpu_s}
        self.next += 1
        self._examination.verdict = None

    # The end of the child

    def conclude(self, end: Exit, supervision: Supervision) -> int | None:
        """Account for the end of the child. Return the test at which it died without a report of its lines."""
        state = self._state
        state.wall_deadline += end.waited_s
        state.is_unexaminable |= self._examination.is_impossible
        if supervision.reaped(end.status, self._has_ended) is Action.REPEAT:
            state.was_repeated = True
            state.wall_deadline += end.wall_s
            self.next = self._first
            return None
        state.cpu_s += end.cpu_s
        if state.is_unexaminable:
            return None
        died_at = self.next
        has_said_all = self.is_done and not supervision.expired
        if self.next < self._last and not has_said_all:
            result = self._result_of_death(end.status, supervision)
            self._finish_last_test(result, max(end.cpu_s - self._clock.cpu_start, 0.0))
        if not self._has_ended:
            return min(died_at, len(state.results) - 1)
        if not supervision.expired and self._first < self.next < self._last:
            state.needs_process_per_test = True  # the program changed state that the next test would see
        return None

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
            if self._job["waits_for_verdicts"]:
                self._may_go_on()

    def _result_of_death(self, status: int, supervision: Supervision) -> Result:
        """Return the result of a test during which the child ended."""
        verdict = self._examination.verdict
        if supervision.garbage:
            return {"error": "the program sent garbage or wrote too much"}
        if verdict is not None and "aborted" not in verdict and not supervision.expired:
            return verdict  # what the program does after its last answer changes nothing
        if supervision.expired or (os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGXCPU):
            return {"timeout": True}
        if os.WIFSIGNALED(status):
            return {"error": f"killed by {_signal_name(os.WTERMSIG(status))}"}
        if os.WEXITSTATUS(status) == EXIT_REPORT_FAILED:
            return {"error": _BROKEN}
        return {"ended": True} if self._is_stdio else {"error": "the program ended without an answer"}


def is_examined(job: JobMessage, index: int) -> bool:
    """Return whether the examiner judges a test."""
    return job["type"] == "assert" and "candidates" in job["tests"][index]


def _checked(result: Result, allowed: frozenset[str]) -> Result:
    if not result or not result.keys() <= allowed:
        raise ValueError("unknown claim")
    return result


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # real-time signals have no names of their own
        return f"signal {number}"
