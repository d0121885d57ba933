"""
Decide when a child is signalled, killed and no longer watched.

No process and no descriptor occurs here: events come in and actions go out. `child_process.py` connects both to the
child.

    WITHIN_LIMITS --- limit exceeded: SIGNAL ----------> GRACE --- grace over: KILL_ALL ---> KILLED
          |                                                ^                                   ^
          +--- garbage, during an examination: KILL -------+                                   |
          +--- garbage: KILL ------------------------------------------------------------------+
"""

from __future__ import annotations

from enum import Enum, auto
from typing import Protocol

from stepcoder_trl.executor.wire.frames import FrameBuffer
from stepcoder_trl.executor.wire.messages import ChildReport


SOFT_LIMIT_GRACE_S = 0.25
STARVED_GRACE_S = 2.0  # maximum extension of the grace, in all, if the machine is too busy to run the child
POLL_S = 0.1
GARBAGE_ERRORS = (OverflowError, ValueError, RecursionError, TypeError, LookupError, AttributeError)


class Action(Enum):
    """What the `Watch` of the child must do."""

    WAIT = auto()  # wait for the next event
    READ_ON = auto()  # read what is left in the pipe of a child that has ended, without waiting
    SIGNAL = auto()  # send the signal of the soft time limit
    KILL = auto()  # kill the child
    KILL_ALL = auto()  # kill the child, and the examiner if it examines the child
    END = auto()  # stop watching
    LEAVE = auto()  # kill the child and end the fork server


class Misuse(Enum):
    """What a child is killed for, besides its limits of time. The values are the messages of its test."""

    GARBAGE = "the program sent garbage"
    WROTE_TOO_MUCH = "the program wrote too much"
    TOO_MANY_THREADS = "the program started too many threads"


class DiskUse(Enum):
    """What a child does to the disk."""

    HARMLESS = auto()
    UNKNOWN = auto()  # the disk fills up, and nobody knows by whom
    TOO_MUCH = auto()  # the child fills it


class Phase(Enum):
    """Phases of a child's supervision."""

    WITHIN_LIMITS = auto()
    GRACE = auto()  # the child, or the examiner of a killed child, has a moment to end by itself
    KILLED = auto()


class Listener(Protocol):
    """Receiver of a child's reports."""

    @property
    def is_done(self) -> bool:
        """Whether the child has reported everything, so that nobody waits for its end."""

    def read_progress(self) -> None:
        """Read the progress that the child recorded in shared memory."""

    def expire(self) -> None:
        """A limit is exceeded: results that arrive from now on do not count."""

    def count(self, data: bytes) -> None:
        """Count bytes of reports, before they are parsed. Raise OverflowError if there are too many."""

    def receive(self, report: ChildReport) -> None:
        """Process a report. Raise one of `GARBAGE_ERRORS` if no honest child sends it."""


class LimitClock(Protocol):
    """Clock of a child and its limits."""

    def now(self) -> float:
        """Return the monotonic time in seconds."""

    def left_s(self) -> float:
        """Return the seconds until the limits must be checked again. Zero or negative if a limit is exceeded."""

    def waited_s(self) -> float:
        """Return the seconds in which the machine was too busy to run the child."""


class Examined(Protocol):
    """Examination of a child."""

    @property
    def is_running(self) -> bool:
        """Whether a test is being examined."""


class Supervision:
    """
    State of one child's supervision. Each method is an event, and returns the next action.

    A report that is longer than `max_report_bytes` is garbage.
    """

    def __init__(self, listener: Listener, clock: LimitClock, examination: Examined, max_report_bytes: int) -> None:
        self.phase = Phase.WITHIN_LIMITS
        self.expired = False  # whether a limit was exceeded
        self.misuse: Misuse | None = None  # what the child was killed for
        self.lost_disk = False  # whether the disk filled up, and nobody knows yet by whom
        self._listener = listener
        self._clock = clock
        self._examination = examination
        self._reports = FrameBuffer(max_report_bytes)
        self._alive = True
        self._pipe_open = True
        self._left_s = 0.0
        self._grace_end = 0.0
        self._waited_before_s = 0.0
        self._extended_s = 0.0

    @property
    def wait_s(self) -> float:
        """Return the maximum seconds to wait for an event before the next `time_passed`."""
        return min(self._left_s, POLL_S)

    @property
    def needs_verdict(self) -> bool:
        """Return whether the examiner's verdict must wake the server, because the child can no longer do so."""
        return self.misuse is not None or not self._alive or not self._pipe_open

    def time_passed(self) -> Action:
        """Time has passed."""
        self._listener.read_progress()
        if self.phase is Phase.WITHIN_LIMITS:
            self._left_s = self._clock.left_s()
            if self._left_s <= 0:
                self.expired = True
                self._listener.expire()
                self._begin_grace()
                return Action.SIGNAL
        elif self.phase is Phase.GRACE:
            self._left_s = self._grace_end - self._clock.now()
            if self._left_s <= 0 and not self._is_grace_extended():
                self.phase = Phase.KILLED
                return Action.KILL_ALL
        else:
            self._left_s = POLL_S
        return self._go_on()

    def reported(self, data: bytes) -> Action:
        """Bytes have arrived in the child's pipe."""
        if self.misuse is None:
            try:
                self._listener.read_progress()
                self._listener.count(data)
                for report in self._reports.feed(data):
                    self._listener.receive(report)
            except GARBAGE_ERRORS:
                return self._kill(Misuse.GARBAGE)
        return self._go_on()

    def reports_closed(self) -> Action:
        """All processes that could write to the child's pipe have closed it."""
        self._pipe_open = False
        return self._go_on()

    def child_exited(self) -> Action:
        """The child has ended."""
        self._alive = False
        return self._go_on()

    def pipe_is_empty(self) -> Action:
        """Nothing is left in the pipe of a child that has ended. A descendant may hold it open for ever."""
        return Action.END

    def verdict_arrived(self) -> Action:
        """The examiner has sent its verdict."""
        return self._go_on()

    def use_measured(self, misuse: Misuse | None) -> Action:
        """The scratch folder was measured, and the threads were counted. `misuse` says what there is too much of."""
        if misuse is not None and not self._was_killed:
            return self._kill(misuse)
        return self._go_on()

    def disk_measured(self, use: DiskUse) -> Action:
        """The free space of the disk was measured."""
        if use is not DiskUse.HARMLESS and not self._was_killed:
            self.lost_disk = use is DiskUse.UNKNOWN
            return self._kill(Misuse.WROTE_TOO_MUCH)
        return self._go_on()

    def caller_gone(self) -> Action:
        """The caller has ended."""
        return Action.LEAVE

    def watch_ended(self) -> None:
        """The child is watched no longer. It still exists."""
        self._listener.read_progress()

    @property
    def has_killed(self) -> bool:
        """Return whether the child may have been killed because of what it did."""
        return self._was_killed or self.expired or self._listener.is_done

    @property
    def _was_killed(self) -> bool:
        return self.misuse is not None or self.phase is Phase.KILLED

    def _go_on(self) -> Action:
        if self._is_over():
            return Action.END
        return Action.READ_ON if self._pipe_open and not self._alive else Action.WAIT

    def _is_over(self) -> bool:
        if self._listener.is_done and not self.expired:
            return True
        return not (self._pipe_open or self._alive or self._examination.is_running)

    def _kill(self, misuse: Misuse) -> Action:
        self.misuse = misuse
        if self.phase is Phase.WITHIN_LIMITS:
            if self._examination.is_running:
                self._begin_grace()  # for the examiner, to notice that its child has ended
            else:
                self.phase = Phase.KILLED
        return Action.KILL

    def _begin_grace(self) -> None:
        self.phase = Phase.GRACE
        self._grace_end = self._clock.now() + SOFT_LIMIT_GRACE_S
        self._left_s = SOFT_LIMIT_GRACE_S
        self._waited_before_s = self._clock.waited_s()

    def _is_grace_extended(self) -> bool:
        """Extend the grace by the time in which the machine was too busy to run the child."""
        waited_s = min(self._clock.waited_s() - self._waited_before_s, STARVED_GRACE_S - self._extended_s)
        self._left_s += waited_s
        if self._left_s <= 0:
            return False
        self._grace_end += waited_s
        self._extended_s += waited_s
        self._waited_before_s += waited_s
        return True
