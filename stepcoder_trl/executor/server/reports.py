"""Check a child's reports, and store the results of its tests."""

from __future__ import annotations

from base64 import b64encode
from enum import Enum, auto

from stepcoder_trl.executor.server.child_process import ChildProcess
from stepcoder_trl.executor.server.clock import Clock
from stepcoder_trl.executor.server.examination import Examination
from stepcoder_trl.executor.server.fork_server import ForkServer
from stepcoder_trl.executor.server.job_state import JobState
from stepcoder_trl.executor.wire.messages import (
    GO,
    ChildReport,
    Lines,
    ModuleError,
    NotStarted,
    OutOfMemory,
    Result,
    TestAnnounced,
    TestReport,
)


_ERROR_KEYS = frozenset({"error", "memory", "line"})
_STDIO_KEYS = _ERROR_KEYS | {"ended"}
_VALUE_KEYS = _ERROR_KEYS | {"value", "passed", "assertion_error"}


class ChildNotStarted(OSError):
    """Raised if a child failed before it ran code of the program: an infrastructure failure, not an outcome."""


class Phase(Enum):
    """Phases of a child."""

    COMPILE = auto()
    MODULE = auto()  # call and assert jobs: the module level runs
    TESTS = auto()
    EXIT = auto()  # the program called `os._exit`


class Reports:
    """
    Listener for the reports of one child. It checks them, and stores the results of the tests.

    Args:
        server (`ForkServer`): The fork server.
        state (`JobState`): State of the job. It gets the results.
        child (`ChildProcess`): The child.
        clock (`Clock`): Clock of the child.
        examination (`Examination`): Examination of the child.
        tests (`range`): Indices of the child's tests.

    Attributes:
        first, last (`int`): Index of the first test, and of the one behind the last.
        next (`int`): Index of the first test that has no result.
        phase (`Phase`): Current phase of the child.
        has_ended (`bool`): Whether the child reported how it ended and which lines ran.
    """

    def __init__(
        self,
        server: ForkServer,
        state: JobState,
        child: ChildProcess,
        clock: Clock,
        examination: Examination,
        tests: range,
    ) -> None:
        self.first, self.last = tests.start, tests.stop
        self.next = tests.start
        self.phase = Phase.COMPILE
        self.has_ended = False
        self._server = server
        self._state = state
        self._job = state.job
        self._is_stdio = state.job["type"] == "stdio"
        self._child = child
        self._clock = clock
        self._examination = examination

    @property
    def is_done(self) -> bool:
        return self.has_ended and self.phase is not Phase.EXIT and self.first < self.next

    def read_progress(self) -> None:
        if self.phase is Phase.COMPILE and (moment := self._server.progress.moment("compiled")):
            self.phase = Phase.MODULE
            if self._is_stdio:
                self.phase = Phase.TESTS
                self._clock.begin_then(*moment)
        if self.phase is Phase.MODULE and (moment := self._server.progress.moment("ready")):
            self.phase = Phase.TESTS
            self._clock.begin_then(*moment)

    def count(self, size: int) -> None:
        if self.phase is not Phase.COMPILE:
            self._state.kept_bytes += size
            if self._state.has_too_much:
                raise OverflowError("too much in all")

    def receive(self, report: ChildReport) -> None:
        if self.has_ended:
            return
        if "examine" in report:
            self._begin_examination(report["examine"])
        elif "test" in report:
            self._finish_reported_test(report)
        elif "compile_error" in report:
            self.fill_all({"compile_error": str(report["compile_error"]), "line": report["line"]})
        elif "end" in report:
            self._end(report["end"])
        elif "soft_limit" in report:
            self._end(report["soft_limit"])
        elif "exit" in report:
            self._end(report["exit"])
            self.phase = Phase.EXIT
        else:
            self._receive_failure(report)

    def _receive_failure(self, report: NotStarted | ModuleError | OutOfMemory) -> None:
        if "not_started" in report and self.phase is Phase.COMPILE:
            raise ChildNotStarted(str(report["not_started"]))
        if "module_error" in report and self.phase is Phase.MODULE:
            self.fill_rest(_checked(report["module_error"], _ERROR_KEYS), self._clock.begin())
        elif "out_of_memory" in report and self.next < self.last:
            self.finish_test({"memory": "MemoryError"}, self._clock.begin())
        else:
            raise ValueError("unknown report")

    def _end(self, lines: Lines) -> None:
        self._state.add_lines(lines)
        self.has_ended = True

    def _finish_reported_test(self, report: TestReport) -> None:
        if report["test"] != self.next or self.phase is not Phase.TESTS or self.next >= self.last:
            raise ValueError("report out of order")
        result = report["result"]
        if self._is_examined(self.next):
            result = self._examined_result(result)
        _checked(result, _STDIO_KEYS if self._is_stdio else _VALUE_KEYS)
        self._state.add_lines(report["lines"])
        self.finish_test(result, self._clock.begin())
        if self._job["waits_for_verdicts"]:
            self._child.answer(self.may_go_on())
            self._clock.begin()

    # Tests that the examiner judges

    def _is_examined(self, index: int) -> bool:
        return self._job["type"] == "assert" and "candidates" in self._job["tests"][index]

    def _begin_examination(self, index: int) -> None:
        in_order = index == self.next < self.last and self.phase is Phase.TESTS
        if not in_order or not self._is_examined(index):
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

    def may_go_on(self) -> bool:
        """Ask the caller about the test that was finished last. If it refuses, the remaining tests are not run."""
        last = self.next - 1
        self._server.send(TestAnnounced(test=last, result=self._state.results[last]))
        if self._server.receive() == GO:
            return True
        self.fill_rest({"not_run": True})
        return False

    def fill_all(self, result: Result) -> None:
        self._state.fill(0, result)
        self.next = len(self._state.results)
        self.has_ended = True

    def fill_rest(self, result: Result, cpu_s: float = 0.0) -> None:
        self._state.fill(self.next, result, cpu_s)
        self.next = len(self._state.results)

    def finish_test(self, result: Result, cpu_s: float) -> None:
        """Store the next test's result, with its output for stdio tests."""
        offset = self.next - self.first if self._is_stdio else 0
        size = self._child.output_size(offset)
        needs_output = self._is_stdio and "ended" in result
        if needs_output:
            self._state.kept_bytes += size
        if size > self._job["max_output_bytes"]:
            result = {"error": f"wrote more than {self._job['max_output_bytes']} bytes to standard output"}
        elif self._state.has_too_much:
            result = {"error": self._state.too_much}
        elif needs_output:
            data = self._child.output(offset)
            # As JSON text, an escaped byte would be six characters.
            result = {"output": data.decode()} if data.isascii() else {"base64": b64encode(data).decode()}
        if not self._is_stdio:
            self._child.clear_output(offset)  # the next test has the same file
        self._state.results[self.next] = {**result, "cpu_s": cpu_s}
        self.next += 1
        self._examination.verdict = None


def _checked(result: Result, allowed: frozenset[str]) -> Result:
    if not result or not result.keys() <= allowed:
        raise ValueError("unknown claim")
    return result
