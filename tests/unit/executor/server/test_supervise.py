"""Test when a child is signalled, killed, no longer watched and run again."""

from __future__ import annotations

import signal
from dataclasses import dataclass, field

import pytest

from stepcoder_trl.executor.server.supervise import (
    POLL_S,
    SOFT_LIMIT_GRACE_S,
    STARVED_GRACE_S,
    Action,
    DiskUse,
    Misuse,
    Phase,
    Supervision,
)
from stepcoder_trl.executor.wire.frames import frame


KILLED, CRASHED, EXITED = signal.SIGKILL.value, signal.SIGSEGV.value, 0  # wait statuses


@dataclass
class FakeClock:
    """Clock that tests set. `limit_s` is the time at which the limit is exceeded."""

    time_s: float = 100.0
    limit_s: float = 103.0
    waited: float = 0.0

    def now(self) -> float:
        return self.time_s

    def left_s(self) -> float:
        return self.limit_s - self.time_s

    def waited_s(self) -> float:
        return self.waited


@dataclass
class FakeListener:
    """Listener that records reports, and refuses more bytes than `max_bytes` and the report `"garbage"`."""

    is_done: bool = False
    max_bytes: int = 1000
    is_expired: bool = False
    reports: list[object] = field(default_factory=list)

    def read_progress(self) -> None:
        pass

    def expire(self) -> None:
        self.is_expired = True

    def count(self, data: bytes) -> None:
        self.max_bytes -= len(data)
        if self.max_bytes < 0:
            raise OverflowError

    def receive(self, report: object) -> None:
        if report == "garbage":
            raise ValueError
        self.reports.append(report)


@dataclass
class FakeExamination:
    is_running: bool = False


class World:
    """A supervision, and what it sees."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.listener = FakeListener()
        self.examination = FakeExamination()
        self.supervision = Supervision(self.listener, self.clock, self.examination, 100)

    def after(self, seconds: float) -> Action:
        """Let time pass."""
        self.clock.time_s += seconds
        return self.supervision.time_passed()


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def expired(world: World) -> World:
    """World in which the soft signal was just sent."""
    assert world.after(3.0) is Action.SIGNAL
    return world


# Limits


def test_child_within_its_limits_is_left_alone(world):
    assert world.after(2.9) is Action.WAIT
    assert world.supervision.wait_s == pytest.approx(0.1)


def test_waits_are_short_enough_to_measure_the_scratch_folder(world):
    assert world.after(0.0) is Action.WAIT
    assert world.supervision.wait_s == POLL_S


def test_exceeded_limit_sends_soft_signal_once(world):
    assert world.after(3.0) is Action.SIGNAL
    assert world.supervision.expired
    assert world.after(0.1) is Action.WAIT


def test_child_that_ignores_soft_signal_is_killed_after_grace(expired):
    assert expired.after(SOFT_LIMIT_GRACE_S - 0.01) is Action.WAIT
    assert expired.after(0.02) is Action.KILL_ALL
    assert expired.after(1.0) is Action.WAIT
    assert expired.supervision.phase is Phase.KILLED


def test_grace_is_extended_by_time_on_a_busy_machine(expired):
    expired.clock.waited = 1.0

    assert expired.after(SOFT_LIMIT_GRACE_S) is Action.WAIT
    assert expired.after(0.99) is Action.WAIT
    assert expired.after(0.02) is Action.KILL_ALL


def test_time_waited_before_the_signal_does_not_extend_grace(world):
    world.clock.waited = 5.0
    world.after(3.0)

    assert world.after(SOFT_LIMIT_GRACE_S) is Action.KILL_ALL


def test_grace_extension_is_bounded(expired):
    expired.clock.waited = 1000.0

    assert expired.after(SOFT_LIMIT_GRACE_S) is Action.WAIT
    assert expired.supervision.wait_s <= POLL_S
    expired.clock.waited = STARVED_GRACE_S
    assert expired.after(STARVED_GRACE_S) is Action.KILL_ALL


def test_report_of_the_end_after_the_soft_signal_does_not_end_the_watch(expired):
    expired.listener.is_done = True

    assert expired.supervision.reported(frame(1)) is Action.WAIT
    assert expired.supervision.reports_closed() is Action.WAIT
    assert expired.supervision.child_exited() is Action.END


# Reports


def test_reports_reach_the_listener_in_order(world):
    assert world.supervision.reported(frame(1) + frame(2)) is Action.WAIT
    assert world.listener.reports == [1, 2]


def test_child_that_has_reported_everything_is_not_waited_for(world):
    world.listener.is_done = True

    assert world.supervision.reported(frame(1)) is Action.END


@pytest.mark.parametrize(
    "data", [frame("garbage"), b"\x02\0\0\0{]", b"\xff\xff\xff\xff"], ids=["refused", "no JSON", "too long"]
)
def test_garbage_kills(world, data):
    assert world.supervision.reported(data) is Action.KILL
    assert world.supervision.misuse is Misuse.GARBAGE
    assert world.supervision.phase is Phase.KILLED


def test_reports_before_garbage_count(world):
    world.supervision.reported(frame(1) + frame("garbage") + frame(2))

    assert world.listener.reports == [1]


def test_reports_after_garbage_are_ignored(world):
    world.supervision.reported(frame("garbage"))

    assert world.supervision.reported(frame(1)) is Action.WAIT
    assert world.listener.reports == []


def test_too_much_output_kills(world):
    for _ in range(10):
        assert world.supervision.reported(frame("x" * 90)) is Action.WAIT
    assert world.supervision.reported(frame("x" * 90)) is Action.KILL


def test_limits_do_not_matter_after_garbage(world):
    world.supervision.reported(frame("garbage"))

    assert world.after(10.0) is Action.WAIT
    assert not world.supervision.expired


def test_too_large_scratch_folder_kills_once(world):
    assert world.supervision.use_measured(None) is Action.WAIT
    assert world.supervision.use_measured(Misuse.TOO_MANY_THREADS) is Action.KILL
    assert world.supervision.use_measured(Misuse.TOO_MANY_THREADS) is Action.WAIT
    assert world.supervision.misuse is Misuse.TOO_MANY_THREADS


# End of the child


def test_child_that_has_ended_is_read_to_the_end_of_its_pipe(world):
    assert world.supervision.child_exited() is Action.READ_ON
    assert world.supervision.reported(frame(1)) is Action.READ_ON
    assert world.supervision.reports_closed() is Action.END
    assert world.listener.reports == [1]


def test_descendant_that_holds_the_pipe_open_does_not_delay_the_end(world):
    world.supervision.child_exited()

    assert world.supervision.pipe_is_empty() is Action.END


def test_child_that_closes_its_pipe_is_watched_until_it_ends(world):
    assert world.supervision.reports_closed() is Action.WAIT
    assert world.after(3.0) is Action.SIGNAL
    assert world.supervision.child_exited() is Action.END


def test_caller_that_is_gone_ends_the_fork_server(world):
    assert world.supervision.caller_gone() is Action.LEAVE


# Examination


def test_examination_outlasts_its_child(world):
    world.examination.is_running = True

    assert world.supervision.reports_closed() is Action.WAIT
    assert world.supervision.child_exited() is Action.WAIT
    assert world.supervision.needs_verdict
    world.examination.is_running = False
    assert world.supervision.verdict_arrived() is Action.END


def test_verdict_does_not_wake_the_server_while_the_child_can_report(world):
    assert not world.supervision.needs_verdict


def test_examiner_gets_grace_after_garbage(world):
    world.examination.is_running = True

    assert world.supervision.reported(frame("garbage")) is Action.KILL
    assert world.after(SOFT_LIMIT_GRACE_S - 0.01) is Action.WAIT
    assert world.after(0.02) is Action.KILL_ALL
    assert not world.supervision.expired


# Who has killed the child


def test_child_that_ends_early_was_killed_by_somebody_else(world):
    world.supervision.child_exited()

    assert not world.supervision.has_killed


def test_child_that_had_reported_everything_was_killed_by_us(world):
    world.listener.is_done = True

    assert world.supervision.has_killed


def test_child_that_exceeded_a_limit_was_killed_by_us(expired):
    assert expired.supervision.has_killed
    assert expired.listener.is_expired


def test_child_that_sent_garbage_was_killed_by_us(world):
    world.supervision.reported(frame("garbage"))

    assert world.supervision.has_killed


# Disk


def test_child_that_fills_the_disk_is_killed_once(world):
    assert world.supervision.disk_measured(DiskUse.HARMLESS) is Action.WAIT
    assert world.supervision.disk_measured(DiskUse.TOO_MUCH) is Action.KILL
    assert world.supervision.disk_measured(DiskUse.TOO_MUCH) is Action.WAIT
    assert not world.supervision.lost_disk


def test_disk_that_fills_up_for_an_unknown_reason_is_noted(world):
    assert world.supervision.disk_measured(DiskUse.UNKNOWN) is Action.KILL
    assert world.supervision.lost_disk
