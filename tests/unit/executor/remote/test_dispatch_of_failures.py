"""Hosts that go away for a moment, and hosts that are broken, without any network."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest

from stepcoder_trl.errors import SandboxError
from stepcoder_trl.executor.remote.client import TemporaryFailure
from stepcoder_trl.executor.remote.dispatch import Dispatcher, Item


class FakeService:
    """Service whose programs take some milliseconds, or fail as it is told."""

    lanes, max_batch, url = 8, 1, "http://sandbox"

    def __init__(self, down_s: float = 0.0, is_broken: bool = False, refusals: float = 0) -> None:
        self.up_at = time.monotonic() + down_s
        self.is_broken = is_broken
        self.refusals = refusals  # requests that find it busy
        self.runs = 0

    def connect(self) -> None: ...

    def run(self, items: Sequence[Item]) -> Iterator[tuple[Item, Any]]:
        self.runs += 1
        time.sleep(0.01)
        if time.monotonic() < self.up_at:
            raise TemporaryFailure("connection reset", is_gone=True)
        if self.runs <= self.refusals:
            raise TemporaryFailure("the service answered 504", wait_s=0.001, is_busy=True)
        for item in items:
            yield item, TemporaryFailure("the disk is full") if self.is_broken else "done"

    def failure(self, problem: str) -> SandboxError:
        return SandboxError(problem)

    def abort(self) -> None: ...

    def close(self) -> None: ...


@pytest.fixture
def run_on():
    made: list[Dispatcher] = []

    def run(*services: Any, until: Callable[[], bool] = lambda: True, busy_timeout_s: float = 60.0) -> list[Any]:
        """Run 50 programs, and go on with others until something has happened. Return the results of the 50."""
        made.append(Dispatcher(services, max_attempts=5, backoff_s=0.05, busy_timeout_s=busy_timeout_s))

        def results() -> list[Any]:
            items = [Item("x", None, None) for _ in range(50)]  # type: ignore[arg-type]
            for item in items:
                made[-1].put(item)
            return [item.future.exception(timeout=60) or item.future.result() for item in items]

        first, deadline = results(), time.monotonic() + 30
        while not until() and time.monotonic() < deadline:
            results()
        return first

    yield run
    for dispatcher in made:
        dispatcher.close()


def test_host_that_is_away_for_a_moment_loses_nothing(run_on):
    assert run_on(FakeService(down_s=0.03)) == ["done"] * 50


def test_broken_host_leaves_the_programs_to_the_others(run_on):
    broken, good = FakeService(is_broken=True), FakeService()

    assert run_on(broken, good) == ["done"] * 50
    assert broken.runs < good.runs


def test_host_that_goes_away_and_comes_back_is_named_once_each(run_on, caplog):
    caplog.set_level(logging.WARNING, logger="stepcoder_trl")  # trainers of several processes raise it

    def connect() -> None:
        asked.append(time.monotonic())
        if len(asked) in (2, 3):
            raise TemporaryFailure("connection refused", is_gone=True)
        away.up_at = math.inf if len(asked) == 1 else 0.0

    asked: list[float] = []
    away, steady = FakeService(), FakeService()
    away.connect = connect  # type: ignore[method-assign]
    steady.url = "http://steady"

    assert run_on(away, steady, until=lambda: len(asked) > 3) == ["done"] * 50

    lines = [record.message for record in caplog.records]
    assert lines == [
        "Sandbox http://sandbox does not answer: connection refused. Its programs go to the other hosts, and it is "
        "asked again.",
        "Sandbox http://sandbox answers again, and gets programs.",
    ]


def test_service_that_cannot_be_asked_is_an_error(run_on):
    service = FakeService()
    service.connect = lambda: 1 / 0  # type: ignore[assignment, method-assign, return-value]

    assert all(isinstance(result, SandboxError) for result in run_on(service))


def test_busy_service_is_waited_for_with_one_warning(run_on, caplog):
    """Each program is refused more often than it may be tried."""
    with caplog.at_level(logging.WARNING):
        assert run_on(FakeService(refusals=100)) == ["done"] * 50

    assert len(caplog.records) == 1
    assert "busy_timeout_s" in caplog.text


def test_programs_that_a_busy_service_refuses_go_to_the_others(run_on):
    busy, good = FakeService(refusals=math.inf), FakeService()

    assert run_on(busy, good) == ["done"] * 50


def test_service_that_is_busy_for_too_long_is_an_error_for_all(run_on):
    results = run_on(FakeService(refusals=math.inf), busy_timeout_s=0.1)

    assert {str(result) for result in results} == {
        "the service answered 504, and no result came for 0.1 seconds. Add hosts, or send fewer programs at a time"
    }


def test_service_that_is_too_busy_to_say_what_it_speaks_is_waited_for(run_on, caplog):
    service = FakeService()
    answers = [TemporaryFailure("429", wait_s=0.001, is_busy=True)] * 20

    def connect() -> None:
        if answers:
            raise answers.pop()

    service.connect = connect  # type: ignore[method-assign]

    assert run_on(service) == ["done"] * 50
    assert "does not answer" not in caplog.text


@pytest.fixture
def dispatcher():
    one = Dispatcher([FakeService()], max_attempts=5, backoff_s=0.001, busy_timeout_s=0.1)  # type: ignore[list-item]
    yield one
    one.close()


def test_result_changes_nothing_while_another_lane_notes_a_refusal(dispatcher):
    (host,), since = dispatcher._hosts, time.monotonic()
    dispatcher._busy_since, host.refusals = since, 3
    lane = threading.Thread(target=dispatcher._receive, args=(host, Item("x", None, None), "done"))  # type: ignore[arg-type]

    with dispatcher._changed:
        lane.start()
        lane.join(0.1)
        during = (dispatcher._busy_since, host.refusals)
    lane.join()

    assert during == (since, 3)
    assert (dispatcher._busy_since, host.refusals) == (None, 0)


@pytest.mark.parametrize("errors", [[SandboxError("no")], [TemporaryFailure("reset")] * 5], ids=["given_up", "tired"])
def test_refusals_before_programs_failed_do_not_count(dispatcher, errors):
    """The first program is refused, then fails. The second one is refused much later, which is its first wait."""
    busy = TemporaryFailure("the service answered 504", wait_s=0.001, is_busy=True)
    answers = [busy, *errors, busy]

    def run(items: Sequence[Item]) -> Iterator[tuple[Item, Any]]:
        if answers:
            raise answers.pop(0)
        yield from ((item, "done") for item in items)

    dispatcher._hosts[0].service.run = run
    first, second = (Item("x", None, None) for _ in range(2))  # type: ignore[arg-type]
    dispatcher.put(first)
    failure = first.future.exception(timeout=60)
    time.sleep(0.15)
    dispatcher.put(second)

    assert isinstance(failure, SandboxError)
    assert second.future.result(timeout=60) == "done"
