"""Run one job: as many children as its tests need."""

from __future__ import annotations

import os
import time
from contextlib import closing

from stepcoder_trl.executor.server.child_process import ChildProcess, Watch
from stepcoder_trl.executor.server.clock import Clock
from stepcoder_trl.executor.server.examination import Examination
from stepcoder_trl.executor.server.fork_server import ForkServer, Job
from stepcoder_trl.executor.server.reports import JobState, Reports, counted_bytes
from stepcoder_trl.executor.server.supervise import Supervision
from stepcoder_trl.executor.wire.messages import ChildReport, Reply


def run_job(server: ForkServer, job: Job) -> Reply:
    """
    Run all tests of a job.

    Raises OSError if a child could not be started, `KilledFromOutside` if somebody else killed one, ExaminerLost if
    the examiner died but not by a limit, and BrokenPipeError or EOFError if the caller has ended.
    """
    state = JobState(job)
    following = 0
    while following < len(state.results):
        if state.cpu_s >= job.header["program_cpu_s"] or time.monotonic() >= state.wall_deadline:
            state.fill(following, {"timeout": True, "not_run": True})
            break
        if state.has_too_much:
            state.fill(following, {"error": state.too_much})
            break
        following = _run_tests(server, state, following)
    return state.reply()


def _run_tests(server: ForkServer, state: JobState, first: int) -> int:
    """Run the tests from `first` on in one child. Return the index of the first test that has no result."""
    header = state.job.header
    tests = range(first, first + 1 if state.needs_process_per_test else len(state.results))
    examination = server.new_examination(header["checks_bytes"], state.max_report_bytes)
    child = ChildProcess(server, state.job, tests)
    with closing(child), closing(examination):
        child.start(examination)
        clock = _clock(server, state, child, examination, header["program_cpu_s"] - state.cpu_s, state.wall_deadline)
        reports = Reports(server, state, child, clock, examination, tests)
        supervision = Supervision(reports, clock, examination, state.max_report_bytes)
        end = Watch(server, child, clock, examination, supervision).until_end()
        without_lines = reports.conclude(end, supervision)
    if without_lines is not None and header["is_traced"]:
        ended = range(without_lines, max(reports.next, without_lines + 1))
        _add_lines_of_another_run(server, state, ended)
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
        cpu_limit_s=state.job.header["timeout_s"],
        wall_limit_s=state.job.header["wall_s"],
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
        self._is_examined = index in state.examined
        self._examination = examination
        self._is_stdio = state.job.header["type"] == "stdio"
        self._bytes_left = state.job.header["max_kept_bytes"]

    def read_progress(self) -> None:
        """Do nothing: the limits count from the start of the child."""

    def expire(self) -> None:
        """Do nothing: no result counts."""

    def count(self, data: bytes) -> None:
        """Count as for a run whose results count: reports are parsed, too."""
        self._bytes_left -= counted_bytes(data, self._is_stdio)
        if self._bytes_left < 0:
            raise OverflowError("too much in all")

    def receive(self, report: ChildReport) -> None:
        if "examine" in report:
            if report["examine"] != self._index or not self._is_examined:
                raise ValueError("report out of order")
            self._examination.begin(self._index)


def _add_lines_of_another_run(server: ForkServer, state: JobState, tests: range) -> None:
    """Run the first of some tests again and add its lines to all of them, if the limits allow another run."""
    if state.lines_again_cpu_s >= state.job.header["program_cpu_s"] or time.monotonic() >= state.hard_deadline:
        state.add_lines(None)
        return
    file = server.system.memory_file("lines")
    try:
        os.ftruncate(file, state.num_lines + 1)
        _run_for_lines(server, state, tests.start, file)
        # Read, not mapped: the program may have cut the file.
        lines = [line for line, ran in enumerate(os.pread(file, state.num_lines + 1, 0)) if ran]
    finally:
        os.close(file)
    state.add_lines(lines or None, tests)


def _run_for_lines(server: ForkServer, state: JobState, index: int, file: int) -> None:
    header = state.job.header
    examination = server.new_examination(header["checks_bytes"], state.max_report_bytes)
    child = ChildProcess(server, state.job, range(index, index + 1))
    with closing(child), closing(examination):
        child.start(examination, lines=file)
        wall_deadline = time.monotonic() + header["wall_s"]
        clock = _clock(server, state, child, examination, header["program_cpu_s"], wall_deadline)
        supervision = Supervision(
            _OnlyExaminations(state, index, examination), clock, examination, state.max_report_bytes
        )
        end = Watch(server, child, clock, examination, supervision).until_end()
        state.lines_again_cpu_s += end.cpu_s
