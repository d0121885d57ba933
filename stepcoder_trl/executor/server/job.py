"""Run one job: as many children as its tests need."""

from __future__ import annotations

import mmap
import time
from contextlib import closing

from stepcoder_trl.executor.child.tracer import SharedLineTracer
from stepcoder_trl.executor.server.child_process import ChildProcess, Watch
from stepcoder_trl.executor.server.clock import Clock
from stepcoder_trl.executor.server.examination import Examination
from stepcoder_trl.executor.server.fork_server import ForkServer
from stepcoder_trl.executor.server.reports import JobState, Reports, is_examined
from stepcoder_trl.executor.server.supervise import Supervision
from stepcoder_trl.executor.wire import scratch
from stepcoder_trl.executor.wire.messages import ChildReport, JobMessage, Reply, Unexaminable


TESTS_PER_CHILD = 128  # stdio tests hold two descriptors each


def run_job(server: ForkServer, job: JobMessage) -> Reply | Unexaminable:
    """
    Run all tests of a job.

    Raises OSError if a child could not be started, ExaminerLost if the examiner died but not by a limit, and
    BrokenPipeError or EOFError if the caller has ended.
    """
    state = JobState(job)
    following = 0
    while following < len(state.results):
        if state.cpu_s >= job["program_cpu_s"] or time.monotonic() >= state.wall_deadline:
            state.fill(following, {"timeout": True, "not_run": True})
            break
        if state.has_too_much:
            state.fill(following, {"error": state.too_much})
            break
        try:
            following = _run_tests(server, state, following)
        finally:
            scratch.empty(server.scratch)
        if state.is_unexaminable:
            return {"unexaminable": True}
    return state.reply()


def _run_tests(server: ForkServer, state: JobState, first: int) -> int:
    """Run the tests from `first` on in one child. Return the index of the first test that has no result."""
    job = state.job
    last = len(state.results)
    if state.needs_process_per_test:
        last = first + 1
    elif job["type"] == "stdio":
        last = min(first + TESTS_PER_CHILD, last)
    tests = range(first, last)
    examination = server.new_examination(job["checks_bytes"], state.max_report_bytes)
    child = ChildProcess(server, job, tests)
    with closing(child), closing(examination):
        child.fork(server.tracer, examination, waits=job["waits_for_verdicts"])
        clock = _clock(server, state, child, examination, job["program_cpu_s"] - state.cpu_s, state.wall_deadline)
        reports = Reports(server, state, child, clock, examination, tests)
        supervision = Supervision(reports, clock, examination, state.max_report_bytes, not state.was_repeated)
        end = Watch(server, child, clock, examination, supervision).until_end()
        without_lines = reports.conclude(end, supervision)
    if without_lines is not None:
        _add_lines_of_another_run(server, state, without_lines)
    return reports.next


def _clock(
    server: ForkServer,
    state: JobState,
    child: ChildProcess,
    examination: Examination,
    program_cpu_s: float,
    wall_deadline: float,
) -> Clock:
    """Start the clock of a child."""
    return Clock(
        server.system,
        child.pid,
        cpu_limit_s=state.job["timeout_s"],
        wall_limit_s=state.job["wall_s"],
        program_cpu_s=program_cpu_s,
        program_wall_deadline=wall_deadline,
        hard_deadline=state.hard_deadline,
        examination=examination,
    )


# A child that died without a report of its lines: its test runs once more, with lines in shared memory, which outlives
# the child. Nothing else of this run counts.


class _OnlyExaminations:
    """Listener that starts the examination of one test and ignores everything else."""

    is_done = False

    def __init__(self, state: JobState, index: int, examination: Examination) -> None:
        self._index = index
        self._is_examined = is_examined(state.job, index)
        self._examination = examination

    def read_progress(self) -> None:
        """Do nothing: the limits count from the start of the child."""

    def count(self, size: int) -> None:
        """Do nothing: reports are not kept."""

    def receive(self, report: ChildReport) -> None:
        if "examine" in report:
            if report["examine"] != self._index or not self._is_examined:
                raise ValueError("report out of order")
            self._examination.begin(self._index)


def _add_lines_of_another_run(server: ForkServer, state: JobState, index: int) -> None:
    """Run a test again and add its lines, if the program's limits allow another run."""
    job = state.job
    if state.lines_again_cpu_s >= job["program_cpu_s"] or time.monotonic() >= state.hard_deadline:
        state.add_lines(None)
        return
    num_lines = job["program"].count("\n") + job["program"].count("\r") + 2
    with mmap.mmap(-1, num_lines + 1) as memory:
        _run_for_lines(server, state, index, SharedLineTracer(server.filename, memory))
        lines = [line for line, ran in enumerate(memory[:]) if ran]
    state.add_lines(lines or None)


def _run_for_lines(server: ForkServer, state: JobState, index: int, tracer: SharedLineTracer) -> None:
    job = state.job
    examination = server.new_examination(job["checks_bytes"], state.max_report_bytes)
    child = ChildProcess(server, {**job, "fresh_process_per_test": True}, range(index, index + 1))
    with closing(child), closing(examination):
        child.fork(tracer, examination, waits=False)
        wall_deadline = time.monotonic() + job["wall_s"]
        clock = _clock(server, state, child, examination, job["program_cpu_s"], wall_deadline)
        listener = _OnlyExaminations(state, index, examination)
        supervision = Supervision(listener, clock, examination, state.max_report_bytes, may_repeat=False)
        end = Watch(server, child, clock, examination, supervision).until_end()
        state.lines_again_cpu_s += end.cpu_s
        state.is_unexaminable |= examination.is_impossible
