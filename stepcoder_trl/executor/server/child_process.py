"""Fork a child for tests of a job, and watch it: turn what the system reports into events of its supervision."""

from __future__ import annotations

import contextlib
import math
import os
import select
import signal
import time
from typing import NamedTuple, NoReturn

from stepcoder_trl.executor.child import run as child
from stepcoder_trl.executor.child.tracer import LineTracer
from stepcoder_trl.executor.server.clock import Clock
from stepcoder_trl.executor.server.examination import MAX_CPU_S, Examination
from stepcoder_trl.executor.server.fork_server import ForkServer, send_signal
from stepcoder_trl.executor.server.supervise import POLL_S, SOFT_LIMIT_GRACE_S, Action, Supervision
from stepcoder_trl.executor.wire import scratch
from stepcoder_trl.executor.wire.frames import READ_BYTES, frame
from stepcoder_trl.executor.wire.messages import CHILD_GO, CHILD_STOP, JobMessage


MAX_SCRATCH_BYTES = 256 * 2**20
_LONG_RUN_S = 1.0


class ChildProcess:
    """
    Process that runs `tests`, which are indices of a job's tests, with its files and pipes.

    `stdout_fds` are the files of standard output: one for each test of a stdio job, else one for all.
    """

    def __init__(self, server: ForkServer, job: JobMessage, tests: range) -> None:
        self._server = server
        self._job = job
        self._first = tests.start
        inputs = [job["tests"][index]["input"] for index in tests] if job["type"] == "stdio" else [""]
        self._stdin_fds = [server.system.memory_file("stdin", text) for text in inputs]
        self.stdout_fds = [server.system.memory_file("stdout") for _ in inputs]
        self._pipes: tuple[int, ...] = ()
        self.pid = 0
        self.reports = self._gate = -1  # descriptors

    def fork(self, tracer: LineTracer, examination: Examination, waits: bool) -> None:
        """Fork the child. If it `waits`, it needs an `answer` after each test. Raise OSError if that fails."""
        self.reports, report_write = os.pipe()
        gate_read, self._gate = os.pipe()
        self._pipes = self.reports, self._gate
        theirs = report_write, gate_read
        task = child.ChildTask(
            job=self._job,
            filename=self._server.filename,
            first=self._first,
            report_fd=report_write,
            gate_fd=gate_read if waits else None,
            stdin_fds=self._stdin_fds,
            stdout_fds=self.stdout_fds,
            soft_signal=self._server.hardening.soft_signal,
            modules=self._server.modules,
            progress=self._server.progress,
            tracer=tracer,
            examiner=examination.connect(),
        )
        self._server.progress.clear()
        try:
            self.pid = os.fork()
            if self.pid == 0:
                self._become_child(task, examination)
        finally:
            for descriptor in theirs:
                os.close(descriptor)
            examination.leave_to_child()

    def _become_child(self, task: child.ChildTask, examination: Examination) -> NoReturn:
        try:
            for descriptor in self._pipes:
                os.close(descriptor)
            examination.close_in_child()
            self._server.close_in_child()
            report = child.begin(task)
            self._server.hardening.enter_child(
                folder=self._server.scratch,
                memory_limit_bytes=self._job["memory_limit_bytes"],
                cpu_limit_s=math.ceil(min(self._job["program_cpu_s"], MAX_CPU_S)) + 2,
                file_limit_bytes=self._job["max_output_bytes"] + 1,
                open_files=2 * len(self._stdin_fds) + 64,
            )
        except BaseException as error:
            with contextlib.suppress(OSError):
                os.write(task.report_fd, frame({"not_started": f"{type(error).__name__}: {error}"}))
            os._exit(1)
        child.main(task, report)

    def answer(self, goes_on: bool) -> None:
        """Let a child that waits after a test run the next one, or end."""
        with contextlib.suppress(BrokenPipeError):
            os.write(self._gate, CHILD_GO if goes_on else CHILD_STOP)

    def close(self) -> None:
        """Close all descriptors."""
        for descriptor in (*self._pipes, *self._stdin_fds, *self.stdout_fds):
            os.close(descriptor)
        self._pipes = ()


class Exit(NamedTuple):
    """End of a child. `waited_s`: seconds in which the machine was too busy to run it, 0 for a short run."""

    status: int
    cpu_s: float
    wall_s: float
    waited_s: float


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
        wall_s = waited_s = 0.0
        self._exit_fd = self._server.system.exit_descriptor(self._child.pid, self._child.reports)
        try:
            self._poll.register(self._child.reports, select.POLLIN)
            self._poll.register(self._exit_fd, self._server.system.exit_event)
            self._poll.register(self._caller_fd, 0)  # the caller's end alone
            self._examination.watch_for_end(self._poll)
            self._handle_events()
            self._supervision.watch_ended()
            wall_s = time.monotonic() - began
            if wall_s > _LONG_RUN_S:
                waited_s = self._clock.waited_s()
        finally:
            os.close(self._exit_fd)
            status, cpu_s = self._server.reap(self._child.pid)
            self._examination.finish(wait_s=SOFT_LIMIT_GRACE_S)
        return Exit(status, cpu_s, wall_s, waited_s)

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
            self._measure_scratch()
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
        data = os.read(descriptor, READ_BYTES)
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
            self._server.reap(pid)
            self._server.leave()
            os._exit(0)

    def _has_reports(self) -> bool:
        return any(descriptor == self._child.reports for descriptor, _ in self._poll.poll(0))

    def _measure_scratch(self) -> None:
        if time.monotonic() >= self._next_measurement:
            self._next_measurement = time.monotonic() + POLL_S
            size = scratch.size_of(self._server.scratch, MAX_SCRATCH_BYTES)
            self._carry_out(self._supervision.scratch_measured(size > MAX_SCRATCH_BYTES))
