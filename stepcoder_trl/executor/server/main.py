"""
Fork server: a small interpreter that has a child forked for each program, watches it and reports to the caller.

It is started fresh, never forked from the caller. It loads the modules that programs usually import, starts the
tracer, prepares the layers of isolation, and forks the forker. Then it serves one job at a time over two inherited
descriptors.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import signal

from stepcoder_trl.executor.server.examination import ExaminerLost
from stepcoder_trl.executor.server.fork_server import ForkServer, Job
from stepcoder_trl.executor.server.forker import ForkerLost, seed_generators
from stepcoder_trl.executor.server.hardening.confine import IsolationUnavailable
from stepcoder_trl.executor.server.job import run_job
from stepcoder_trl.executor.server.reports import KilledFromOutside
from stepcoder_trl.executor.wire import scratch
from stepcoder_trl.executor.wire.frames import frame, read_frame
from stepcoder_trl.executor.wire.messages import (
    EXIT_KILLED,
    Greeting,
    Infrastructure,
    Refusal,
    Reply,
    Settings,
)


PRELOADED = (
    *("abc", "array", "ast", "base64", "bisect", "cmath", "collections", "collections.abc", "contextlib", "copy"),
    *("dataclasses", "datetime", "decimal", "enum", "fractions", "functools", "hashlib", "heapq", "io", "itertools"),
    *("json", "math", "numbers", "operator", "os", "queue", "random", "re", "string", "struct", "sys", "textwrap"),
    *("threading", "time", "traceback", "types", "typing", "warnings"),
)


def main(requests: int, replies: int, checks: int | None = None) -> None:
    """
    Serve jobs in a fresh interpreter until the caller ends.

    The descriptors are those of the caller's messages, of the answers, and of the checks file if any job has checks.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())  # a caller may block signals, which programs would inherit
    try:
        settings: Settings = read_frame(os.fdopen(os.dup(requests), "rb", buffering=0))
    except EOFError:  # the caller has ended, and the current folder is the one that it made
        scratch.remove_all(os.getcwd())
        return
    try:
        server = start(settings, requests, replies, checks)
    except (OSError, ImportError, IsolationUnavailable) as error:
        os.write(replies, frame(_start_failure(error)))
        return
    try:
        server.send(Greeting(layers=server.hardening.layers, missing=server.hardening.missing))
        _serve(server)
    except (EOFError, BrokenPipeError):
        server.leave()
    except ForkerLost:
        server.leave()
        os._exit(EXIT_KILLED)
    except ExaminerLost as error:
        server.leave()
        os._exit(EXIT_KILLED if error.was_killed else 0)  # after 0, the caller sees a lost worker


def start(settings: Settings, requests: int, replies: int, checks: int | None) -> ForkServer:
    """Make this interpreter a fork server. Raise OSError, ImportError or IsolationUnavailable if it cannot be one."""
    for name in PRELOADED:
        importlib.import_module(name)
    seed_generators()
    _raise_soft_limits()
    return ForkServer(settings, requests, replies, checks)


def _start_failure(error: Exception) -> Infrastructure | Refusal:
    text = f"{type(error).__name__}: {error}"
    if isinstance(error, IsolationUnavailable) and error.missing:
        return Refusal(infrastructure=text, refused=error.missing)
    return _failure(error)


def _failure(error: Exception) -> Infrastructure:
    return Infrastructure(infrastructure=f"{type(error).__name__}: {error}", killed=False)


def _serve(server: ForkServer) -> None:
    while not server.has_leftovers:  # the caller removes them with the folder
        server.send(_reply(server, server.receive_job()))
        server.remove_folders()  # nobody waits for this
    server.leave()


def _reply(server: ForkServer, job: Job) -> Reply | Infrastructure:
    try:
        server.forker.load_mentioned(job.program)
        return run_job(server, job)
    except BrokenPipeError:
        raise
    except KilledFromOutside as error:
        return {"infrastructure": str(error), "killed": True}
    except OSError as error:
        return _failure(error)


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
