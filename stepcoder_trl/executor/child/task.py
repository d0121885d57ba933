"""Task of a program's process: what it inherits from the forker, and the job that it receives after the fork."""

from __future__ import annotations

import io
import mmap
import os
import socket
import sys
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from stepcoder_trl.executor.child.instrument import NotingTracer
from stepcoder_trl.executor.child.soft_limit import SoftLimit
from stepcoder_trl.executor.child.state import ModuleStates
from stepcoder_trl.executor.child.tracer import LineTracer, NoTracer
from stepcoder_trl.executor.wire.conversation import ChildsEnd
from stepcoder_trl.executor.wire.jobs import expanded, text_of, unpack_in_child
from stepcoder_trl.executor.wire.messages import ChildJob, CodeAround
from stepcoder_trl.executor.wire.progress import Progress


PROGRAM_FILE = "solution.py"


@dataclass
class Inherited:
    """Everything that the forker prepares once for all children."""

    tracer: LineTracer
    modules: ModuleStates  # before any program runs
    beginning: Progress  # steps before the program runs
    claims: Progress  # steps that the program may forge
    soft_limit: SoftLimit
    # Address space, never touched, which a child gives up to report that no memory is left.
    reserve: mmap.mmap = field(default_factory=lambda: mmap.mmap(-1, 2**20, mmap.MAP_PRIVATE))
    text_streams: list[TextStreams] = field(default_factory=list)  # for the first test of a child, if there are any


class TextStreams(NamedTuple):
    """Standard input and output of a program."""

    stdin: io.TextIOWrapper
    stdout: io.TextIOWrapper


class Streams(NamedTuple):
    """Descriptors of one child. The standard streams are memory files, which each test fills anew."""

    connection: int  # to the fork server: the job, then an answer to each report if the job says so
    report: int
    stdin: int
    stdout: int
    questions: int  # of the examiner, and the answers to it
    answers: int


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
    examiner: ChildsEnd | None = None


def receive_task(streams: Streams, inherited: Inherited) -> ChildTask:
    """Wait for the job of this process. Raise EOFError if the fork server ends first."""
    job: ChildJob
    job, (program, around, *tests) = unpack_in_child(streams.connection)
    tracer, filename = inherited.tracer, f"{job['folder']}/{PROGRAM_FILE}"
    if job["shares_lines"]:
        memory_file = _received_file(streams.connection)
        tracer = NotingTracer(filename, mmap.mmap(memory_file, os.fstat(memory_file).st_size))
        os.close(memory_file)
    elif not job["is_traced"]:
        tracer = NoTracer(filename)
    tracer.filename = filename
    examiner = None
    if job["is_examined"]:
        examiner = ChildsEnd(streams.questions, streams.answers)
    else:
        os.close(streams.questions)
        os.close(streams.answers)
    return ChildTask(
        job=job,
        program=text_of(program),
        around=expanded(around),
        tests=tests,
        filename=filename,
        streams=streams,
        inherited=inherited,
        tracer=tracer,
        examiner=examiner,
    )


def open_text_streams() -> TextStreams:
    """Return new text streams on the descriptors 0 and 1, UTF-8 in every locale."""
    raw_in, raw_out = io.FileIO(0, "r", closefd=False), io.FileIO(1, "w", closefd=False)
    raw_in.name, raw_out.name = "<stdin>", "<stdout>"
    stdin = io.TextIOWrapper(io.BufferedReader(raw_in), encoding="utf-8", newline="\n")
    stdout = io.TextIOWrapper(io.BufferedWriter(raw_out), encoding="utf-8")
    stdin.mode, stdout.mode = "r", "w"  # type: ignore[misc]
    return TextStreams(stdin, stdout)


def _received_file(connection: int) -> int:
    with socket.socket(fileno=os.dup(connection)) as received:
        _, (descriptor,), _, _ = socket.recv_fds(received, 1, 1)
    return int(descriptor)


def enter_folder(task: ChildTask) -> None:
    """Make the program's folder the current one."""
    folder = task.job["folder"]
    os.chdir(folder)
    sys.path.insert(0, folder)
    sys.argv = [task.filename]
    if task.job["has_home"]:
        os.environ["HOME"] = os.environ["TMPDIR"] = folder
    tempfile: Any = sys.modules.get("tempfile")
    if tempfile is not None:
        tempfile.tempdir = None
