"""Task of a program's process: what it inherits from the forker, and the job that it receives after the fork."""

from __future__ import annotations

import mmap
import os
import socket
import sys
from array import array
from dataclasses import dataclass
from typing import Any, NamedTuple

from stepcoder_trl.executor.child.instrument import NotingTracer
from stepcoder_trl.executor.child.soft_limit import SoftLimit
from stepcoder_trl.executor.child.state import ModuleStates
from stepcoder_trl.executor.child.tracer import LineTracer, NoTracer
from stepcoder_trl.executor.wire.frames import Channel, write_all
from stepcoder_trl.executor.wire.jobs import expanded, text_bytes, text_of, unpack
from stepcoder_trl.executor.wire.messages import ChildJob, CodeAround
from stepcoder_trl.executor.wire.progress import Progress


PROGRAM_FILE = "solution.py"
# Words in programs that may read their own file. Writing it takes 5 % of the time of a short program.
_HINTS_OF_THE_FILE = (
    *("__file__", "argv", "filename", "inspect", "linecache", "solution", "traceback", "warnings", "runpy"),
    *("logging", "listdir", "scandir", "glob", "walk", "iterdir", "pdb", "doctest", "unittest"),
)
# Words in programs that may ask for their home or a temporary folder. Without them, libraries find the current folder.
_HINTS_OF_THE_ENVIRONMENT = ("environ", "getenv", "HOME", "home", "~", "expand", "temp", "TMP", "sqlite")
_QUESTION_BYTES = 2**30
_MAX_DESCRIPTORS = 3  # that come with a job


@dataclass
class Inherited:
    """Everything that the forker prepares once for all children."""

    tracer: LineTracer
    modules: ModuleStates  # before any program runs
    beginning: Progress  # steps before the program runs
    claims: Progress  # steps that the program may forge
    soft_limit: SoftLimit


class Streams(NamedTuple):
    """Descriptors of one child. The standard streams are memory files, which each test fills anew."""

    connection: socket.socket  # to the fork server: the job, then an answer to each report if the job says so
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

    def __init__(self, connection: socket.socket) -> None:
        self.read = connection.recv


def receive_task(streams: Streams, inherited: Inherited) -> ChildTask:
    """Wait for the job of this process. Raise EOFError if the fork server ends first."""
    _, control, _, _ = streams.connection.recvmsg(1, socket.CMSG_SPACE(_MAX_DESCRIPTORS * array("i").itemsize))
    descriptors = array("i")
    for _, _, data in control:
        descriptors.frombytes(data)
    job: ChildJob
    job, (program, around, *tests) = unpack(_Incoming(streams.connection))
    tracer, filename = inherited.tracer, f"{job['folder']}/{PROGRAM_FILE}"
    if job["shares_lines"]:
        memory_file = descriptors.pop()
        tracer = NotingTracer(filename, mmap.mmap(memory_file, os.fstat(memory_file).st_size))
        os.close(memory_file)
    elif not job["is_traced"]:
        tracer = NoTracer(filename)
    tracer.filename = filename
    return ChildTask(
        job=job,
        program=text_of(program),
        around=expanded(around),
        tests=tests,
        filename=filename,
        streams=streams,
        inherited=inherited,
        tracer=tracer,
        examiner=Channel(descriptors[0], descriptors[1], _QUESTION_BYTES) if job["is_examined"] else None,
    )


def enter_folder(task: ChildTask) -> None:
    """Make the program's folder the current one. Write the program's file there if the program may read it."""
    folder = task.job["folder"]
    os.chdir(folder)
    if any(hint in task.program for hint in _HINTS_OF_THE_FILE):
        descriptor = os.open(PROGRAM_FILE, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        write_all(descriptor, text_bytes(task.program))
        os.close(descriptor)
    sys.path.insert(0, folder)
    sys.argv = [task.filename]
    if any(hint in task.program for hint in _HINTS_OF_THE_ENVIRONMENT):
        os.environ["HOME"] = os.environ["TMPDIR"] = folder
    tempfile: Any = sys.modules.get("tempfile")
    if tempfile is not None:
        tempfile.tempdir = None
