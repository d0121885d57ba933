"""State of the fork server: its forker, its examiner, the folders of programs, and its connection to the caller."""

from __future__ import annotations

import contextlib
import gc
import os
import signal
from collections.abc import Iterable
from typing import Any, NamedTuple

from stepcoder_trl.executor.child import synchronize
from stepcoder_trl.executor.child.rehearsal import rehearse
from stepcoder_trl.executor.child.soft_limit import SoftLimit
from stepcoder_trl.executor.child.state import ModuleStates
from stepcoder_trl.executor.child.task import PROGRAM_FILE, Inherited
from stepcoder_trl.executor.child.tracer import line_tracer
from stepcoder_trl.executor.server.examination import Examination, Examiner
from stepcoder_trl.executor.server.forker import Forker
from stepcoder_trl.executor.server.hardening.confine import prepare
from stepcoder_trl.executor.server.hardening.readable import readable_paths
from stepcoder_trl.executor.server.hardening.threads import most_threads
from stepcoder_trl.executor.wire import scratch
from stepcoder_trl.executor.wire.frames import frame, read_frame, write_all
from stepcoder_trl.executor.wire.jobs import unpack
from stepcoder_trl.executor.wire.messages import JobAnswer, JobMessage, Settings, StartMessage
from stepcoder_trl.executor.wire.progress import Progress
from stepcoder_trl.executor.wire.system import PortableSystem, System


# Words in programs that may read their own file. Writing it takes 5 % of the time of a short program.
_HINTS_OF_THE_FILE = (
    *(b"__file__", b"argv", b"filename", b"inspect", b"linecache", b"solution", b"traceback", b"warnings", b"runpy"),
    *(b"logging", b"listdir", b"scandir", b"glob", b"walk", b"iterdir", b"pdb", b"doctest", b"unittest"),
)


class Job(NamedTuple):
    """Job of the caller: its header, the program, the code around it, and its tests, as `jobs.py` says."""

    header: JobMessage
    program: bytes
    around: bytes
    tests: list[bytes]

    def mentions(self, words: Iterable[bytes]) -> bool:
        """Return whether one of the words occurs in code that runs with the program."""
        codes = [self.program, self.around, *(self.tests if self.header["type"] == "assert" else ())]
        return any(word in code for code in codes for word in words)


class ForkServer:
    """
    The forker, the examiner, and the pipes to the caller.

    Create it in a fresh interpreter with one thread, after the modules that programs import are loaded. Creation
    raises OSError or IsolationUnavailable if a layer of isolation cannot be prepared.
    """

    def __init__(self, settings: Settings, requests: int, replies: int, checks: int | None) -> None:
        self.folder = settings["folder"]
        self.requests = os.fdopen(requests, "rb", buffering=2**20)
        self.system = PortableSystem() if settings["portable"] else System()
        self.has_leftovers = False  # whether a program's folder could not be removed
        self._used_folders: list[str] = []  # of programs that have ended
        self._replies = replies
        self._checks = checks
        self._examiner: Examiner | None = None
        os.chdir("/")
        self.hardening = prepare(
            base=self.folder,
            readable=readable_paths(),
            isolation=settings["isolation"],
            portable=settings["portable"],
        )
        self.max_threads = most_threads()
        synchronize.install()
        inherited = Inherited(
            tracer=line_tracer(os.path.join(self.folder, PROGRAM_FILE)),
            modules=ModuleStates(),
            beginning=Progress(),
            claims=Progress(),
            soft_limit=SoftLimit(),
        )
        self.beginning, self.claims = inherited.beginning, inherited.claims
        gc.freeze()  # so that the collections of a rehearsal are quick
        rehearse(inherited, self.system)
        gc.unfreeze()
        gc.collect()
        gc.freeze()
        private = [replies, requests] if checks is None else [replies, requests, checks]
        self.forker = Forker(inherited, self.hardening, self.system, close=private)

    def send(self, message: StartMessage | JobAnswer) -> None:
        """Send a message to the caller. Raise BrokenPipeError if the caller has ended."""
        write_all(self._replies, frame(message))

    def receive(self) -> Any:
        """Wait for a message of the caller. Raise EOFError if the caller has ended."""
        return read_frame(self.requests)

    def receive_job(self) -> Job:
        """Wait for a job. Raise EOFError if the caller has ended."""
        header, (program, around, *tests) = unpack(self.requests)
        return Job(header, program, around, tests)

    def new_examination(self, checks_bytes: int, max_answer_bytes: int) -> Examination:
        """Return the examination of a new child. Start the examiner if there are checks and it does not run."""
        if checks_bytes and (self._examiner is None or self._examiner.has_ended()):
            assert self._checks is not None
            self._examiner = Examiner(
                self._checks, self.hardening, [self._replies, self.requests.fileno(), self.forker.fileno()]
            )
        return Examination(self._examiner if checks_bytes else None, checks_bytes, max_answer_bytes)

    def new_folder(self, job: Job) -> str:
        """Create the folder of a child. Write the program's file there if its code may read it."""
        folder = os.path.join(self.folder, scratch.random_name())
        os.mkdir(folder, 0o700)
        if job.mentions(_HINTS_OF_THE_FILE):
            with open(os.path.join(folder, PROGRAM_FILE), "xb", buffering=0) as file:
                write_all(file.fileno(), job.program)
        return folder

    def discard_folder(self, folder: str) -> None:
        """Remove the folder of a program that has ended, at once if it is empty. A full one may take seconds."""
        try:
            os.rmdir(folder)
        except OSError:
            self._used_folders.append(folder)

    def remove_folders(self) -> None:
        """Remove the folders of all programs that have ended."""
        while self._used_folders:
            self.has_leftovers |= not scratch.remove(self._used_folders.pop())

    def leave(self) -> None:
        """End the forker and the examiner, and remove all folders. A caller that was killed cannot remove them."""
        self.forker.end()
        if self._examiner is not None:
            self._examiner.kill()
        self._reap_orphans()
        scratch.remove_all(self.folder)

    def _reap_orphans(self) -> None:
        """Kill the processes that the forker left behind."""
        with contextlib.suppress(OSError):  # kernels without a list of children
            for pid in self.system.children():
                with contextlib.suppress(ProcessLookupError, ChildProcessError):
                    os.kill(pid, signal.SIGKILL)
                    os.waitpid(pid, 0)


def send_signal(pid: int, number: int) -> None:
    """Send a signal to a process, if it still exists."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)
