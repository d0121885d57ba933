"""
Forker: the process that forks a child for each program, and never sees a job.

The fork server forks it once, before its first job. A child is a copy of the forker's memory, so it finds nothing of
an earlier program, of its output or of its tests there. It gets its job from the server after the fork. The next child
is forked as soon as the last one was reaped, and waits for its job.

Messages are of a fixed size. A new child's message brings the server's ends of its pipes.
"""

from __future__ import annotations

import contextlib
import errno
import gc
import importlib
import os
import random
import signal
import socket
import struct
import sys
from collections.abc import Callable, Sequence
from typing import NamedTuple, NoReturn

from stepcoder_trl.executor.child import run as child
from stepcoder_trl.executor.child.interpreter import behave_like_a_script
from stepcoder_trl.executor.child.state import ModuleStates
from stepcoder_trl.executor.child.task import Inherited, Streams, enter_folder, open_text_streams, receive_task
from stepcoder_trl.executor.server.hardening.confine import Hardening
from stepcoder_trl.executor.wire.frames import frame
from stepcoder_trl.executor.wire.system import FORKER_NAME, PortableSystem, System, name_process


# Rare modules. Every page of the forker's memory makes each fork slower, so they are loaded when a program names them.
LOADED_ON_MENTION = (
    *("asyncio", "calendar", "concurrent.futures", "csv", "logging", "numpy", "pprint", "statistics", "tempfile"),
    "unicodedata",
)
OPEN_FILES = 1024  # descriptors of a program, as usual

_IMPORT_ERRORS = (ImportError, AttributeError, OSError, RuntimeError, TypeError, ValueError)

_COMMAND = struct.Struct("<cI")  # what to do, and with which child or module
_REAP, _FORK, _LOAD = b"r", b"f", b"l"
_FORKED = struct.Struct("<i")  # process id, or a negative error number
_REAPED = struct.Struct("<ldQ")  # wait status, CPU seconds, blocks of 512 bytes written
_DESCRIPTORS = 5  # that come with a new child


class ForkerLost(Exception):
    """Raised if the forker has died: somebody else killed it."""


class NewChild(NamedTuple):
    """Child that waits for its job, and the server's ends of its pipes."""

    pid: int
    connection: int
    reports: int
    stdout: int
    questions: int  # of the examiner to the child, and the answers to it
    answers: int


class Reaped(NamedTuple):
    """End of a child: wait status, CPU seconds and bytes written to a disk."""

    status: int
    cpu_s: float
    written_bytes: int


class Forker:
    """The fork server's handle of the forker, which closes the descriptors in `close`."""

    def __init__(self, inherited: Inherited, hardening: Hardening, system: System, close: Sequence[int]) -> None:
        self._socket, theirs = socket.socketpair()
        self.pid = os.fork()
        if self.pid == 0:
            try:
                self._socket.close()
                for descriptor in close:
                    os.close(descriptor)
                _Process(theirs, inherited, hardening, system).serve()
            finally:
                os._exit(1)
        theirs.close()
        self._loaded: set[str] = set()
        self._has_child = True  # whether the forker has announced a child, or why there is none

    def fileno(self) -> int:
        """Return the descriptor of the connection to the forker."""
        return self._socket.fileno()

    def load_mentioned(self, program: bytes) -> None:
        """Have the modules loaded that a program mentions."""
        for number, name in enumerate(LOADED_ON_MENTION):
            if name not in self._loaded and name.encode() in program:
                self._loaded.add(name)
                if self._has_child:
                    with contextlib.suppress(OSError):
                        self._dismiss(self.take())
                self._send(_LOAD, number)

    def take(self) -> NewChild:
        """Return the child that waits. Raise OSError if it could not be forked."""
        if not self._has_child:
            self._send(_FORK, 0)
        try:
            data, descriptors, _, _ = socket.recv_fds(self._socket, _FORKED.size, _DESCRIPTORS)
        except ConnectionResetError:
            data, descriptors = b"", []
        if len(data) < _FORKED.size:
            raise ForkerLost
        self._has_child = False
        (pid,) = _FORKED.unpack(data)
        if pid < 0:
            raise OSError(-pid, os.strerror(-pid))
        if len(descriptors) < _DESCRIPTORS:  # this process may open no more
            for descriptor in descriptors:
                os.close(descriptor)
            self.reap(pid)
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        return NewChild(pid, *descriptors)

    def reap(self, pid: int) -> Reaped:
        """Kill a child and every process that it started, and fork the next one."""
        self._send(_REAP, pid)
        try:
            data = self._socket.recv(_REAPED.size, socket.MSG_WAITALL)
        except ConnectionResetError:
            data = b""
        if len(data) < _REAPED.size:
            raise ForkerLost
        self._has_child = True
        status, cpu_s, blocks = _REAPED.unpack(data)
        return Reaped(status, cpu_s, 512 * blocks)

    def end(self) -> None:
        """End the forker and its child."""
        self._socket.close()
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(self.pid, 0)

    def _dismiss(self, waiting: NewChild) -> None:
        for descriptor in waiting[1:]:
            os.close(descriptor)
        self.reap(waiting.pid)
        with contextlib.suppress(OSError):
            for descriptor in self.take()[1:]:
                os.close(descriptor)

    def _send(self, command: bytes, argument: int) -> None:
        try:
            self._socket.sendall(_COMMAND.pack(command, argument))
        except OSError:
            raise ForkerLost from None


class _Process:
    """State of the forker's process."""

    def __init__(self, server: socket.socket, inherited: Inherited, hardening: Hardening, system: System) -> None:
        self._server, self._server_fd = server, server.fileno()
        self._inherited = inherited
        self._hardening = hardening
        self._system = system

    def serve(self) -> NoReturn:
        """Fork and reap children until the fork server ends."""
        if not isinstance(self._system, PortableSystem):
            name_process(FORKER_NAME)
        self._hardening.become_forker()
        signal.signal(self._hardening.soft_signal, self._inherited.soft_limit)
        behave_like_a_script()
        self._open_text_streams()
        gc.disable()
        gc.freeze()  # a collection in a child would touch, and so copy, every page that it inherited
        self._fork()
        while len(command := self._server.recv(_COMMAND.size, socket.MSG_WAITALL)) == _COMMAND.size:
            kind, argument = _COMMAND.unpack(command)
            if kind == _REAP:
                self._server.sendall(_REAPED.pack(*self._reap(argument)))
            elif kind == _LOAD:
                self._load(LOADED_ON_MENTION[argument])
                continue
            self._fork()
        self._reap_descendants()
        os._exit(0)

    def _open_text_streams(self) -> None:
        """Open the text streams of children, on an empty file: each child puts its own in its place."""
        file = self._system.memory_file("no child")
        for descriptor in (0, 1):
            os.dup2(file, descriptor)
        os.close(file)
        self._inherited.text_streams.append(open_text_streams())

    def _fork(self) -> None:
        descriptors: list[int] = []
        try:
            descriptors += (file.detach() for file in socket.socketpair())
            for _ in range(3):
                descriptors += os.pipe()
            descriptors += [self._system.memory_file("stdin"), self._system.memory_file("stdout")]
            ours, theirs, reports, report, questions, asked, answered, answers, stdin, stdout = descriptors
            pid = os.fork()
            if pid == 0:
                for descriptor in (self._server_fd, ours, reports, asked, answered):
                    os.close(descriptor)
                self._become_child(Streams(theirs, report, stdin, stdout, questions, answers))
            socket.send_fds(self._server, [_FORKED.pack(pid)], [ours, reports, stdout, asked, answered])
        except OSError as error:
            self._server.sendall(_FORKED.pack(-(error.errno or 1)))
        finally:
            for descriptor in descriptors:
                os.close(descriptor)

    def _become_child(self, streams: Streams) -> NoReturn:
        try:
            task = receive_task(streams, self._inherited)
            enter_folder(task)
            report = child.begin(task)
            self._hardening.enter_child(
                folder=task.job["folder"],
                memory_limit_bytes=task.job["memory_limit_bytes"],
                cpu_limit_s=task.job["cpu_limit_s"],
                file_limit_bytes=task.job["file_limit_bytes"],
                open_files=OPEN_FILES,
            )
            self._inherited.beginning.note("confined")
        except BaseException as error:
            with contextlib.suppress(OSError):
                os.write(streams.report, frame({"not_started": f"{type(error).__name__}: {error}"}))
            os._exit(1)
        child.main(task, report)

    def _reap(self, pid: int) -> tuple[int, float, int]:
        """Kill a child and every process that it started. Return the fields of `_REAPED`."""
        _quietly(os.killpg, pid)
        _quietly(os.kill, pid)
        _, status, usage = os.wait4(pid, 0)
        self._reap_descendants()
        return status, usage.ru_utime + usage.ru_stime, usage.ru_oublock

    def _reap_descendants(self) -> None:
        while True:
            try:
                found, _ = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if found == 0:  # adopted from the child, in a session of its own
                descendants = self._system.children()
                if not descendants:
                    return
                for pid in descendants:
                    _quietly(os.kill, pid)
                    with contextlib.suppress(ChildProcessError):
                        os.waitpid(pid, 0)

    def _load(self, name: str) -> None:
        with contextlib.suppress(*_IMPORT_ERRORS):  # the program will meet the error itself
            importlib.import_module(name)
            seed_generators()
        self._inherited.modules = ModuleStates()
        gc.freeze()


def seed_generators() -> None:
    """Seed the generators, so that programs that do not seed them draw the same numbers on every worker."""
    seed = int(os.environ.get("PYTHONHASHSEED", "0"))  # one number decides everything that may differ between runs
    random.seed(seed)
    numpy = sys.modules.get("numpy")
    if numpy is not None:
        numpy.random.seed(seed)


def _quietly(kill: Callable[[int, int], None], pid: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        kill(pid, signal.SIGKILL)
