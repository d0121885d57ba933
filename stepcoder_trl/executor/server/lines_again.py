"""
Run a test once more to learn its lines, after its child died without a report of them.

The lines go to memory that is shared with the fork server, where they outlive the child. Nothing else of this run
counts.
"""

from __future__ import annotations

import mmap
import time

from stepcoder_trl.executor.child.tracer import SharedLineTracer
from stepcoder_trl.executor.server.child_process import ChildProcess
from stepcoder_trl.executor.server.clock import Clock
from stepcoder_trl.executor.server.examination import Examination
from stepcoder_trl.executor.server.fork_server import ForkServer
from stepcoder_trl.executor.server.job_state import JobState
from stepcoder_trl.executor.server.supervise import Supervision
from stepcoder_trl.executor.server.watch import Watch
from stepcoder_trl.executor.wire import scratch
from stepcoder_trl.executor.wire.messages import ChildReport


class _Reports:
    """Listener that starts the examination of one test and ignores everything else."""

    is_done = False

    def __init__(self, state: JobState, index: int, examination: Examination) -> None:
        self._index = index
        self._is_examined = state.job["type"] == "assert" and "candidates" in state.job["tests"][index]
        self._examination = examination

    def read_progress(self) -> None:
        """The limits count from the start of the child."""

    def count(self, size: int) -> None:
        """Reports are not kept."""

    def receive(self, report: ChildReport) -> None:
        if "examine" in report:
            if report["examine"] != self._index or not self._is_examined:
                raise ValueError("report out of order")
            self._examination.begin(self._index)


def add_lines_of_another_run(server: ForkServer, state: JobState, index: int) -> None:
    """
    Run a test again and add its lines, if the program's limits allow another run.

    Args:
        server (`ForkServer`): The fork server.
        state (`JobState`): State of the job.
        index (`int`): Index of the test.
    """
    job = state.job
    if state.lines_again_cpu_s >= job["program_cpu_s"] or time.monotonic() >= state.hard_deadline:
        state.add_lines(None)
        return
    num_lines = job["program"].count("\n") + job["program"].count("\r") + 2
    with mmap.mmap(-1, num_lines + 1) as memory:
        _run(server, state, index, SharedLineTracer(server.filename, memory))
        lines = [line for line, ran in enumerate(memory[:]) if ran]
    state.add_lines(lines or None)


def _run(server: ForkServer, state: JobState, index: int, tracer: SharedLineTracer) -> None:
    job = state.job
    examination = Examination(server, job, state.max_report_bytes)
    text = job["tests"][index]["input"] if job["type"] == "stdio" else ""
    child = ChildProcess(server, {**job, "fresh_process_per_test": True}, index, [text])
    try:
        child.fork(tracer, examination, waits=False)
        clock = Clock(
            server.system,
            child.pid,
            cpu_limit_s=job["timeout_s"],
            wall_limit_s=job["wall_s"],
            program_cpu_s=job["program_cpu_s"],
            program_wall_deadline=time.monotonic() + job["wall_s"],
            hard_deadline=state.hard_deadline,
            examination=examination,
        )
        clock.begin()
        reports = _Reports(state, index, examination)
        supervision = Supervision(reports, clock, examination, state.max_report_bytes, may_repeat=False)
        end = Watch(server, child, clock, examination, supervision).until_end()
        state.lines_again_cpu_s += end.cpu_s
        state.is_unexaminable |= examination.is_impossible
    finally:
        child.close()
        examination.close()
        scratch.empty(server.scratch)
