"""
Fork server: a small interpreter that forks a child for each program, watches it and reports to the caller.

It is started fresh, never forked from the caller. It loads the modules that programs usually import, starts the
tracer, and prepares the layers of isolation. Then it serves one job at a time over two inherited descriptors.
"""

from __future__ import annotations

import contextlib
import gc
import itertools
import os
import signal

from stepcoder_trl.executor.server.examiner import ExaminerLost
from stepcoder_trl.executor.server.fork_server import ForkServer
from stepcoder_trl.executor.server.hardening.prepare import IsolationUnavailable
from stepcoder_trl.executor.server.job import run_job
from stepcoder_trl.executor.server.preload import load_usual_modules
from stepcoder_trl.executor.wire import scratch
from stepcoder_trl.executor.wire.frames import frame, read_frame
from stepcoder_trl.executor.wire.messages import Infrastructure, JobMessage, Refusal, Reply, Settings, Unexaminable


JOBS_PER_COLLECTION = 512


def main(requests: int, replies: int, checks: int | None = None) -> None:
    """
    Serve jobs until the caller ends. Call it in a fresh interpreter.

    Args:
        requests (`int`): Descriptor that the caller's messages arrive at.
        replies (`int`): Descriptor that messages to the caller are written to.
        checks (`int`, *optional*): Descriptor of the checks file. `None` if no job has checks.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        settings: Settings = read_frame(os.fdopen(os.dup(requests), "rb", buffering=0))
    except EOFError:  # the caller has ended, and the current folder is the scratch folder that it made
        scratch.remove(os.getcwd())
        return
    try:
        server = start(settings, requests, replies, checks)
    except (OSError, ImportError, IsolationUnavailable) as error:
        os.write(replies, frame(_start_failure(error)))
        return
    try:
        server.send({"layers": server.hardening.layers, "missing": server.hardening.missing})
        serve(server)
    except (EOFError, BrokenPipeError, ExaminerLost):  # after the last one, the caller sees a lost worker
        server.leave()


def start(settings: Settings, requests: int, replies: int, checks: int | None) -> ForkServer:
    """
    Prepare this interpreter to be a fork server.

    Raises:
        OSError, ImportError, IsolationUnavailable: If it cannot be one.
    """
    load_usual_modules()
    _raise_soft_limits()
    return ForkServer(settings, requests, replies, checks)


def _start_failure(error: Exception) -> Infrastructure | Refusal:
    text = f"{type(error).__name__}: {error}"
    if isinstance(error, IsolationUnavailable) and error.missing:
        return Refusal(infrastructure=text, refused=error.missing)
    return Infrastructure(infrastructure=text)


def serve(server: ForkServer) -> None:
    """
    Serve jobs.

    Raises:
        EOFError, BrokenPipeError: If the caller has ended.
        ExaminerLost: If the examiner died, but not by a limit.
    """
    gc.disable()  # a collection in a child would touch, and so copy, every page that it inherited
    for served in itertools.count(1):
        server.send(_reply(server, server.receive()))
        if served % JOBS_PER_COLLECTION == 0:
            gc.unfreeze()
            gc.collect()
            gc.freeze()


def _reply(server: ForkServer, job: JobMessage) -> Reply | Unexaminable | Infrastructure:
    try:
        return run_job(server, job)
    except BrokenPipeError:
        raise
    except OSError as error:
        return {"infrastructure": f"{type(error).__name__}: {error}"}


def _raise_soft_limits() -> None:
    """Allow as many descriptors as possible, for the tests' files, and a main stack for deep recursion."""
    import resource

    with contextlib.suppress(ValueError):  # macOS takes no infinity
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    _, hard = resource.getrlimit(resource.RLIMIT_STACK)
    # Set after exec: 128 MiB of address space are kept free below the main stack, and threads keep their default.
    wanted = 120 * 2**20
    soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    with contextlib.suppress(ValueError):
        resource.setrlimit(resource.RLIMIT_STACK, (soft, hard))
