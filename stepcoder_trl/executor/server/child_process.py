"""Give a child the tests of a job, and watch it: turn what the system reports into events of its supervision."""

from __future__ import annotations

import contextlib
import errno
import math
import os
import select
import signal
import socket
import time
from collections.abc import Sequence
from typing import NamedTuple

from stepcoder_trl.executor.server.clock import Clock
from stepcoder_trl.executor.server.examination import MAX_CPU_S, Examination
from stepcoder_trl.executor.server.fork_server import ForkServer, Job, send_signal
from stepcoder_trl.executor.server.supervise import (
    POLL_S,
    SOFT_LIMIT_GRACE_S,
    Action,
    DiskUse,
    Misuse,
    Supervision,
)
from stepcoder_trl.executor.wire import scratch
from stepcoder_trl.executor.wire.frames import READ_BYTES, write_all
from stepcoder_trl.executor.wire.jobs import pack_for_child
from stepcoder_trl.executor.wire.messages import CHILD_GO, CHILD_STOP, ChildJob


MAX_SCRATCH_BYTES = 256 * 2**20
MIN_FREE_BYTES = 2**20  # a disk with less counts as full
CRITICAL_FREE_BYTES = 2**30  # a disk with less is protected even if somebody else may be filling it
_LONG_RUN_S = 1.0
# Words in programs that may ask for their home or a temporary folder. Without them, libraries find the current folder.
_HINTS_OF_THE_ENVIRONMENT = (*(b"environ", b"getenv", b"HOME", b"home", b"~", b"expand", b"temp", b"TMP", b"sqlite"),)


class ChildProcess:
    """Process that runs `tests`, which are indices of a job's tests, with its folder and its pipes."""

    def __init__(self, server: ForkServer, job: Job, tests: range) -> None:
        self._server = server
        self._job = job
        self._tests = tests
        server.remove_folders()  # those of the tests before, so that each child finds the whole disk
        new = server.forker.take()
        self.pid, self.reports, self.stdout = new.pid, new.reports, new.stdout
        self._connection = new.connection
        self._examiners_ends = new.questions, new.answers
        os.set_blocking(self.reports, False)  # a program can open this end, too, and take back what it has written
        self.folder = ""
        self.free_bytes = scratch.free_bytes(server.folder)

    @property
    def file_limit_bytes(self) -> int:
        """Return the largest size of a file of the program."""
        inputs = self._job.tests[self._tests.start : self._tests.stop]
        return max(self._job.header["max_output_bytes"] + 1, *map(len, inputs))

    def start(self, examination: Examination, lines: int | None = None) -> None:
        """
        Send the job. `lines` is a memory file in which the child marks the lines that run.

        Raise OSError if that fails. A child that has ended meanwhile gets nothing.
        """
        examination.connect(self._examiners_ends)
        if self.free_bytes < MIN_FREE_BYTES:
            raise OSError(errno.ENOSPC, f"the disk of {self._server.folder} is full")
        self.folder = self._server.new_folder(self._job)
        self._server.beginning.clear()
        self._server.claims.clear()
        files = () if lines is None else (lines,)
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self._send(examination.is_needed, files)

    def _send(self, is_examined: bool, files: Sequence[int]) -> None:
        header = self._job.header
        tests = self._job.tests[self._tests.start : self._tests.stop]
        message = ChildJob(
            part_bytes=[],
            type=header["type"],
            first=self._tests.start,
            folder=self.folder,
            memory_limit_bytes=header["memory_limit_bytes"],
            cpu_limit_s=math.ceil(min(header["program_cpu_s"], MAX_CPU_S)) + 2,
            file_limit_bytes=self.file_limit_bytes,
            max_output_bytes=header["max_output_bytes"],
            waits_for_verdicts=header["waits_for_verdicts"] and not files,
            is_traced=header["is_traced"],
            is_examined=is_examined,
            shares_lines=bool(files),
            has_home=self._job.mentions(_HINTS_OF_THE_ENVIRONMENT),
        )
        write_all(self._connection, pack_for_child(message, [self._job.program, self._job.around, *tests]))
        if files:
            with socket.socket(fileno=os.dup(self._connection)) as connection:
                socket.send_fds(connection, [b"."], files)
        os.set_blocking(self._connection, False)  # a program may leave answers unread

    def answer(self, goes_on: bool) -> None:
        """Let a child that waits after a test run the next one, or end."""
        with contextlib.suppress(BrokenPipeError, ConnectionResetError, BlockingIOError):
            os.write(self._connection, CHILD_GO if goes_on else CHILD_STOP)

    def close(self) -> None:
        """Close all descriptors, and discard the folder."""
        for descriptor in (self._connection, self.reports, self.stdout):
            os.close(descriptor)
        if self.folder:
            self._server.discard_folder(self.folder)


class Exit(NamedTuple):
    """
    End of a child.

    `waited_s`: seconds in which the machine was too busy to run it, 0 for a short run. `filled_disk`: whether it wrote
    much to files that are not in its folder any more. `disk_full`: whether the disk was full at the end.
    """

    status: int
    cpu_s: float
    waited_s: float
    filled_disk: bool
    disk_full: bool


class Watch:
    """Watch of one child from the fork to its end. `supervision` decides what is done."""

    def __init__(
        self,
        server: ForkServer,
        child: ChildProcess,
        clock: Clock,
        examination: Examination,
        supervision: Supervision,
    ) -> None:
        self._server = server
        self._child = child
        self._clock = clock
        self._examination = examination
        self._supervision = supervision
        self._caller_fd = server.requests.fileno()
        self._exit_fd = -1
        self._poll = select.poll()
        self._next_measurement = 0.0

    def until_end(self) -> Exit:
        """Watch the child until it has ended and was reaped. Raise as `run_job` does."""
        began = time.monotonic()
        self._next_measurement = began + POLL_S
        waited_s = 0.0
        self._exit_fd = self._server.system.exit_descriptor(self._child.pid, self._child.reports)
        try:
            self._poll.register(self._child.reports, select.POLLIN)
            self._poll.register(self._exit_fd, self._server.system.exit_event)
            self._poll.register(self._caller_fd, 0)  # the caller's end alone
            self._examination.watch_for_end(self._poll)
            self._handle_events()
            self._supervision.watch_ended()
            if time.monotonic() - began > _LONG_RUN_S:
                waited_s = self._clock.waited_s()
        finally:
            os.close(self._exit_fd)
            free_bytes = scratch.free_bytes(self._server.folder)
            status, cpu_s, written_bytes = self._server.forker.reap(self._child.pid)
            self._examination.finish(wait_s=SOFT_LIMIT_GRACE_S)
        # A file without a name is gone with its process.
        regained_bytes = scratch.free_bytes(self._server.folder) - free_bytes
        filled_disk = 2 * max(written_bytes, regained_bytes) > MAX_SCRATCH_BYTES
        return Exit(status, cpu_s, waited_s, filled_disk, free_bytes < MIN_FREE_BYTES)

    def _handle_events(self) -> None:
        action = self._supervision.time_passed()
        while action is not Action.END:
            self._carry_out(action)
            for descriptor, _event in self._poll.poll(max(1, math.ceil(self._supervision.wait_s * 1000))):
                action = self._event(descriptor)
                self._carry_out(action)
                if action is Action.END:
                    return
            if self._supervision.needs_verdict:
                self._examination.watch_for_verdict(self._poll)
            if action is Action.READ_ON and not self._has_reports():
                action = self._supervision.pipe_is_empty()
                continue
            self._measure_use()
            action = self._supervision.time_passed()

    def _event(self, descriptor: int) -> Action:
        """Return the supervision's answer to the event of a descriptor."""
        if descriptor == self._caller_fd:
            return self._supervision.caller_gone()
        if self._examination.is_descriptor(descriptor):
            self._examination.receive_verdict()
            return self._supervision.verdict_arrived()
        if descriptor == self._exit_fd:
            self._poll.unregister(descriptor)
            return self._supervision.child_exited()
        if descriptor != self._child.reports:  # the examiner's, whose end was noticed while a report was read
            return Action.WAIT
        try:
            data = os.read(descriptor, READ_BYTES)
        except BlockingIOError:
            return Action.WAIT
        if data:
            return self._supervision.reported(data)
        self._poll.unregister(descriptor)
        return self._supervision.reports_closed()

    def _carry_out(self, action: Action) -> None:
        pid = self._child.pid
        if action is Action.SIGNAL:
            send_signal(pid, self._server.hardening.soft_signal)
        elif action in (Action.KILL, Action.KILL_ALL):
            send_signal(pid, signal.SIGKILL)
            if action is Action.KILL_ALL:
                self._examination.stop(self._poll)
        elif action is Action.LEAVE:
            self._server.forker.reap(pid)
            self._server.leave()
            os._exit(0)

    def _has_reports(self) -> bool:
        return any(descriptor == self._child.reports for descriptor, _ in self._poll.poll(0))

    def _measure_use(self) -> None:
        if time.monotonic() >= self._next_measurement:
            self._next_measurement = time.monotonic() + POLL_S
            self._carry_out(self._supervision.use_measured(self._misuse()))
            self._carry_out(self._supervision.disk_measured(self._disk_use()))

    def _misuse(self) -> Misuse | None:
        """Return what the child has too much of: files in its folder, or threads."""
        if scratch.size_of(self._child.folder, MAX_SCRATCH_BYTES) > MAX_SCRATCH_BYTES:
            return Misuse.WROTE_TOO_MUCH
        too_many = self._server.system.num_threads(self._child.pid) > self._server.max_threads
        return Misuse.TOO_MANY_THREADS if too_many else None

    def _disk_use(self) -> DiskUse:
        """
        Return what the child does to the disk.

        A file without a name is in no folder. The free space of the disk shows it, but others write to the disk too.
        Where the disk is memory, the kernel does not count what is written through maps.
        """
        folder, system, pid = self._server.folder, self._server.system, self._child.pid
        free_bytes = scratch.free_bytes(folder)
        if self._child.free_bytes - free_bytes <= MAX_SCRATCH_BYTES:
            return DiskUse.HARMLESS
        nameless_bytes = system.nameless_bytes(pid, folder, self._child.file_limit_bytes)
        if max(system.written_bytes(pid), nameless_bytes) > MAX_SCRATCH_BYTES:
            return DiskUse.TOO_MUCH
        return DiskUse.UNKNOWN if free_bytes < CRITICAL_FREE_BYTES else DiskUse.HARMLESS
