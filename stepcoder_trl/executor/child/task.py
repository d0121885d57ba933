"""Task of a program's process: what it inherits from the forker, and the job that it receives after the fork."""

from __future__ import annotations

import json
import mmap
import os
import socket
import sys
from dataclasses import dataclass
from typing import Any, NamedTuple

from stepcoder_trl.executor.child.state import ModuleStates
from stepcoder_trl.executor.child.tracer import LineTracer, SharedLineTracer
from stepcoder_trl.executor.wire.frames import Channel, write_all
from stepcoder_trl.executor.wire.jobs import text_bytes, text_of, unpack
from stepcoder_trl.executor.wire.messages import ChildJob, CodeAround
from stepcoder_trl.executor.wire.progress import Progress


PROGRAM_FILE = "solution.py"
_QUESTION_BYTES = 2**30
_MAX_DESCRIPTORS = 3  # that come with a job


@dataclass
class Inherited:
    """Everything that the forker prepares once for all children."""

    tracer: LineTracer
    modules: ModuleStates  # before any program runs
    beginning: Progress  # steps before the program runs
    claims: Progress  # steps that the program may forge
    soft_signal: int


class Streams(NamedTuple):
    """Descriptors of one child. The standard streams are memory files, which each test fills anew."""

    connection: int  # to the fork server: the job, then an answer to each report if the job says so
    report: int
    stdin: int
    stdout: int


@dataclass(frozen=True)
class ChildTask:
    """Task of one child."""

    job: ChildJob
    program: str
    around: CodeAround
    tests: list[bytes]  # from `job["first"]` on
    filename: str  # the program is compiled under this path
    streams: Streams
    inherited: Inherited
    tracer: LineTracer
    examiner: Channel | None = None


class _Incoming:
    """Stream of a connection."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def read(self, size: int, /) -> bytes:
        """Return at most `size` bytes. Empty if the other side is gone."""
        return os.read(self._descriptor, size)


def receive_task(streams: Streams, inherited: Inherited) -> ChildTask:
    """Wait for the job of this process. Raise EOFError if the fork server ends first."""
    with socket.socket(fileno=streams.connection) as connection:
        _, descriptors, _, _ = socket.recv_fds(connection, 1, _MAX_DESCRIPTORS)
        connection.detach()
    job: ChildJob
    job, (program, around, *tests) = unpack(_Incoming(streams.connection))
    tracer, filename = inherited.tracer, os.path.join(job["folder"], PROGRAM_FILE)
    if job["shares_lines"]:
        memory_file = descriptors.pop()
        tracer = SharedLineTracer(filename, mmap.mmap(memory_file, os.fstat(memory_file).st_size))
        os.close(memory_file)
    tracer.filename = filename
    return ChildTask(
        job=job,
        program=text_of(program),
        around=json.loads(around),
        tests=tests,
        filename=filename,
        streams=streams,
        inherited=inherited,
        tracer=tracer,
        examiner=Channel(descriptors[0], descriptors[1], _QUESTION_BYTES) if job["is_examined"] else None,
    )


def enter_folder(task: ChildTask) -> None:
    """Make the program's folder the current one, and write the program's file there."""
    folder = task.job["folder"]
    os.chdir(folder)
    descriptor = os.open(PROGRAM_FILE, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    write_all(descriptor, text_bytes(task.program))
    os.close(descriptor)
    sys.path.insert(0, folder)
    sys.argv = [task.filename]
    os.environ["HOME"] = os.environ["TMPDIR"] = folder
    tempfile: Any = sys.modules.get("tempfile")
    if tempfile is not None:
        tempfile.tempdir = None
