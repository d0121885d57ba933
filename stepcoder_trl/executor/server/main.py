"""
Fork server: a small interpreter that forks a child for each program, watches it and reports to the caller.

It is started fresh, never forked from the caller. It loads the modules that programs usually import, starts the
tracer, and prepares the layers of isolation. Then it serves one job at a time over two inherited descriptors.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import itertools
import os
import random
import signal
import sys

from stepcoder_trl.executor.child.state import ModuleStates
from stepcoder_trl.executor.server.examination import ExaminerLost
from stepcoder_trl.executor.server.fork_server import ForkServer
from stepcoder_trl.executor.server.hardening.confine import IsolationUnavailable
from stepcoder_trl.executor.server.job import run_job
from stepcoder_trl.executor.wire import scratch
from stepcoder_trl.executor.wire.frames import frame, read_frame
from stepcoder_trl.executor.wire.messages import (
    Greeting,
    Infrastructure,
    JobMessage,
    Refusal,
    Reply,
    Settings,
    Unexaminable,
)


JOBS_PER_COLLECTION = 512
PRELOADED = (
    *("abc", "array", "ast", "base64", "bisect", "cmath", "collections", "collections.abc", "contextlib", "copy"),
    *("dataclasses", "datetime", "decimal", "enum", "fractions", "functools", "hashlib", "heapq", "io", "itertools"),
    *("json", "math", "numbers", "operator", "os", "queue", "random", "re", "string", "struct", "sys", "textwrap"),
    *("threading", "time", "traceback", "types", "typing", "warnings"),
)
# Rare modules. Every page of the server's memory makes each fork slower, so they are loaded when a program names them.
LOADED_ON_MENTION = (
    *("asyncio", "calendar", "concurrent.futures", "csv", "logging", "numpy", "pprint", "statistics", "tempfile"),
    "unicodedata",
)


def main(requests: int, replies: int, checks: int | None = None) -> None:
    """
    Serve jobs in a fresh interpreter until the caller ends.

    The descriptors are those of the caller's messages, of the answers, and of the checks file if any job has checks.
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
        server.send(Greeting(layers=server.hardening.layers, missing=server.hardening.missing))
        _serve(server)
    except (EOFError, BrokenPipeError, ExaminerLost):  # after the last one, the caller sees a lost worker
        server.leave()


def start(settings: Settings, requests: int, replies: int, checks: int | None) -> ForkServer:
    """Make this interpreter a fork server. Raise OSError, ImportError or IsolationUnavailable if it cannot be one."""
    for name in PRELOADED:
        importlib.import_module(name)
    _seed_generators()
    _raise_soft_limits()
    return ForkServer(settings, requests, replies, checks)


def _start_failure(error: Exception) -> Infrastructure | Refusal:
    text = f"{type(error).__name__}: {error}"
    if isinstance(error, IsolationUnavailable) and error.missing:
        return Refusal(infrastructure=text, refused=error.missing)
    return Infrastructure(infrastructure=text)


def _serve(server: ForkServer) -> None:
    gc.disable()  # a collection in a child would touch, and so copy, every page that it inherited
    for served in itertools.count(1):
        server.send(_reply(server, server.receive()))
        if served % JOBS_PER_COLLECTION == 0:
            gc.unfreeze()
            gc.collect()
            gc.freeze()


def _reply(server: ForkServer, job: JobMessage) -> Reply | Unexaminable | Infrastructure:
    try:
        _load_named_modules(server, job["program"])
        return run_job(server, job)
    except BrokenPipeError:
        raise
    except OSError as error:
        return {"infrastructure": f"{type(error).__name__}: {error}"}


def _load_named_modules(server: ForkServer, program: str) -> None:
    """Load those of `LOADED_ON_MENTION` that occur in a program's text."""
    missing = [name for name in LOADED_ON_MENTION if name not in sys.modules and name in program]
    for name in missing:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
            _seed_generators()
    if missing:
        server.modules = ModuleStates()
        gc.freeze()


def _seed_generators() -> None:
    """Seed the generators, so that programs that do not seed them draw the same numbers on every worker."""
    seed = int(os.environ.get("PYTHONHASHSEED", "0"))  # one number decides everything that may differ between runs
    random.seed(seed)
    numpy = sys.modules.get("numpy")
    if numpy is not None:
        numpy.random.seed(seed)


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
