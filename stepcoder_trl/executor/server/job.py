"""Run one job: as many children as its tests need."""

from __future__ import annotations

import time

from stepcoder_trl.executor.server.child_run import run_tests
from stepcoder_trl.executor.server.fork_server import ForkServer
from stepcoder_trl.executor.server.job_state import JobState
from stepcoder_trl.executor.wire.messages import JobMessage, Reply, Unexaminable


def run_job(server: ForkServer, job: JobMessage) -> Reply | Unexaminable:
    """
    Run all tests of a job.

    Raises:
        OSError: If a child could not be started.
        ExaminerLost: If the examiner died, but not by a limit.
        BrokenPipeError, EOFError: If the caller has ended.
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
        following = run_tests(server, state, following)
        if state.is_unexaminable:
            return {"unexaminable": True}
    return state.reply()
