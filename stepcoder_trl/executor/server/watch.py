"""Watch one child: turn what the system reports into events of its supervision, and carry out the actions."""

from __future__ import annotations

import math
import os
import select
import signal
import time
from dataclasses import dataclass

from stepcoder_trl.executor.server.child_process import ChildProcess
from stepcoder_trl.executor.server.clock import Clock
from stepcoder_trl.executor.server.examination import Examination
from stepcoder_trl.executor.server.fork_server import ForkServer
from stepcoder_trl.executor.server.supervise import POLL_S, SOFT_LIMIT_GRACE_S, Action, Supervision
from stepcoder_trl.executor.wire import scratch
from stepcoder_trl.executor.wire.frames import READ_BYTES


MAX_SCRATCH_BYTES = 256 * 2**20
_LONG_RUN_S = 1.0


@dataclass(frozen=True)
class Exit:
    """
    End of a child.

    Attributes:
        status (`int`): Wait status.
        cpu_s (`float`): CPU seconds.
        wall_s (`float`): Wall seconds.
        waited_s (`float`): Seconds in which the machine was too busy to run it. 0 for a short run.
    """

    status: int
    cpu_s: float
    wall_s: float
    waited_s: float


class Watch:
    """
    Watch of one child, from the fork to its end.

    Args:
        server (`ForkServer`): The fork server.
        child (`ChildProcess`): The child.
        clock (`Clock`): Clock of the child, which has begun.
        examination (`Examination`): Examination of the child.
        supervision (`Supervision`): Decides what to do.
    """

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
        """
        Watch the child until it has ended and was reaped.

        Raises:
            OSError: If the child was not started.
            ExaminerLost: If the examiner died, but not by a limit.
            BrokenPipeError, EOFError: If the caller has ended.
        """
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
            status, cpu_s = self._child.reap()
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
        if action is Action.SIGNAL:
            self._child.signal(self._server.hardening.soft_signal)
        elif action is Action.KILL:
            self._child.signal(signal.SIGKILL)
        elif action is Action.KILL_ALL:
            self._child.signal(signal.SIGKILL)
            self._examination.stop(self._poll)
        elif action is Action.LEAVE:
            self._child.reap()
            self._server.leave()
            os._exit(0)

    def _has_reports(self) -> bool:
        return any(descriptor == self._child.reports for descriptor, _ in self._poll.poll(0))

    def _measure_scratch(self) -> None:
        if time.monotonic() >= self._next_measurement:
            self._next_measurement = time.monotonic() + POLL_S
            size = scratch.size_of(self._server.scratch, MAX_SCRATCH_BYTES)
            self._carry_out(self._supervision.scratch_measured(size > MAX_SCRATCH_BYTES))
