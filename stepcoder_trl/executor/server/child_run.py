"""Run tests of a job in one child."""

from __future__ import annotations

import os
import signal

from stepcoder_trl.executor.server.child_process import ChildProcess
from stepcoder_trl.executor.server.clock import Clock
from stepcoder_trl.executor.server.examination import Examination
from stepcoder_trl.executor.server.fork_server import ForkServer
from stepcoder_trl.executor.server.job_state import JobState
from stepcoder_trl.executor.server.lines_again import add_lines_of_another_run
from stepcoder_trl.executor.server.reports import Phase, Reports
from stepcoder_trl.executor.server.supervise import Action, Supervision
from stepcoder_trl.executor.server.watch import Exit, Watch
from stepcoder_trl.executor.wire import scratch
from stepcoder_trl.executor.wire.messages import EXIT_REPORT_FAILED, Result


TESTS_PER_CHILD = 128  # stdio tests hold two descriptors each
_BROKEN = "the program broke its process"


def run_tests(server: ForkServer, state: JobState, first: int) -> int:
    """
    Run the tests from `first` on in one child.

    Args:
        server (`ForkServer`): The fork server.
        state (`JobState`): State of the job. It gets the results.
        first (`int`): Index of the first test.

    Returns:
        `int`: Index of the first test that has no result.

    Raises:
        OSError: If the child could not be started.
        ExaminerLost: If the examiner died, but not by a limit.
        BrokenPipeError, EOFError: If the caller has ended.
    """
    try:
        run = _ChildRun(server, state, first)
        run.run()
        if run.without_lines is not None:
            add_lines_of_another_run(server, state, run.without_lines)
        return run.following
    finally:
        scratch.empty(server.scratch)


class _ChildRun:
    """
    Run of one child.

    Attributes:
        following (`int`): Index of the first test that has no result.
        without_lines (`int`, *optional*): Index of the test at which the child died without a report of its lines.
    """

    def __init__(self, server: ForkServer, state: JobState, first: int) -> None:
        self.following = first
        self.without_lines: int | None = None
        self._server = server
        self._state = state
        self._job = state.job
        self._is_stdio = state.job["type"] == "stdio"
        self._tests = _tests_of_child(state, first, self._is_stdio)
        self._examination = Examination(server, state.job, state.max_report_bytes)
        inputs = [state.job["tests"][index]["input"] for index in self._tests] if self._is_stdio else [""]
        self._child = ChildProcess(server, state.job, first, inputs)

    def run(self) -> None:
        """Run the child until it has ended, and account for its end."""
        state = self._state
        try:
            self._child.fork(self._server.tracer, self._examination, waits=self._job["waits_for_verdicts"])
            clock = self._started_clock()
            reports = Reports(self._server, state, self._child, clock, self._examination, self._tests)
            supervision = Supervision(
                reports, clock, self._examination, state.max_report_bytes, may_repeat=not state.was_repeated
            )
            end = Watch(self._server, self._child, clock, self._examination, supervision).until_end()
            self._conclude(end, clock, reports, supervision)
            self.following = reports.next
        finally:
            self._child.close()
            self._examination.close()

    def _started_clock(self) -> Clock:
        job, state = self._job, self._state
        clock = Clock(
            self._server.system,
            self._child.pid,
            cpu_limit_s=job["timeout_s"],
            wall_limit_s=job["wall_s"],
            program_cpu_s=job["program_cpu_s"] - state.cpu_s,
            program_wall_deadline=state.wall_deadline,
            hard_deadline=state.hard_deadline,
            examination=self._examination,
        )
        clock.begin()
        return clock

    def _conclude(self, end: Exit, clock: Clock, reports: Reports, supervision: Supervision) -> None:
        state = self._state
        state.wall_deadline += end.waited_s
        state.is_unexaminable |= self._examination.is_impossible
        if supervision.reaped(end.status, reports.has_ended) is Action.REPEAT:
            state.was_repeated = True
            state.wall_deadline += end.wall_s
            reports.next = reports.first
            return
        state.cpu_s += end.cpu_s
        if state.is_unexaminable:
            return
        died_at = reports.next
        has_said_all = reports.is_done and not supervision.expired
        if reports.next < reports.last and not has_said_all:
            result = self._result_of_death(end.status, supervision)
            self._finish_last_test(result, max(end.cpu_s - clock.cpu_start, 0.0), reports)
        if not reports.has_ended:
            self.without_lines = min(died_at, len(state.results) - 1)
        elif not supervision.expired and reports.first < reports.next < reports.last:
            state.needs_process_per_test = True  # the program changed state that the next test would see

    def _finish_last_test(self, result: Result, cpu_s: float, reports: Reports) -> None:
        """Store the result of the test that ran when the child ended."""
        if reports.phase is Phase.COMPILE and result.get("error") == _BROKEN:
            reports.fill_all({"memory": "no memory to begin with"})
        elif reports.phase is Phase.COMPILE and "timeout" not in result:
            reports.fill_all({"compile_error": f"the compiler died: {result.get('error', '')}", "line": None})
        elif reports.phase in (Phase.COMPILE, Phase.MODULE) and not self._is_stdio:
            reports.fill_rest(result, cpu_s)
        else:
            reports.finish_test(result, cpu_s)
            if self._job["waits_for_verdicts"]:
                reports.may_go_on()

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


def _tests_of_child(state: JobState, first: int, is_stdio: bool) -> range:
    """Return the indices of the tests that one child runs."""
    num_tests = len(state.results)
    if state.needs_process_per_test:
        return range(first, first + 1)
    return range(first, min(first + TESTS_PER_CHILD, num_tests) if is_stdio else num_tests)


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # real-time signals have no names of their own
        return f"signal {number}"
