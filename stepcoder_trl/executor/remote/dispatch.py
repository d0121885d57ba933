"""
Programs that wait, and the threads that take them to the services.

Each address has some threads, its *lanes*. A lane takes programs from the common queue, as many as are fair, has them
run, and takes the next ones. So a faster service gets more. A service that is gone gets none until it answers again,
and its programs go to the others.
"""

from __future__ import annotations

import logging
import math
import os
import random
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from stepcoder_trl.errors import SandboxError
from stepcoder_trl.executor.pending import Pending
from stepcoder_trl.executor.remote.client import TemporaryFailure, is_busy
from stepcoder_trl.executor.verdict.schema import Tests
from stepcoder_trl.types import Execution


logger = logging.getLogger(__name__)

CLOSED_MESSAGE = "This executor is closed. Create a new one."
_ENDED_MESSAGE = "This executor was closed before the program had run."
_MAX_WAIT_S = 60.0


@dataclass(eq=False)
class Item(Pending):
    """Program on its way."""

    program: str
    tests: Tests
    owner: object  # the executor, which must not be collected before its programs have run
    failures: int = 0  # attempts
    losses: int = 0  # reports that were missing, see `fusion.py`
    ready_at: float = 0.0  # monotonic time before which it is not tried again

    def give_back(self) -> None:
        """Cancel the program. One that was tried before cannot be cancelled any more, and fails."""
        if self.future.running():
            self.settle(SandboxError(_ENDED_MESSAGE))
        else:
            self.future.cancel()


class Service(Protocol):
    """Service at one address."""

    @property
    def url(self) -> str:
        """Its address."""

    @property
    def lanes(self) -> int:
        """Threads that may call `run` at a time."""

    @property
    def max_batch(self) -> int:
        """Programs of one call of `run`."""

    def connect(self) -> None:
        """Find out what the service speaks. Raise TemporaryFailure without answer, or a `SandboxError`."""

    def run(self, items: Sequence[Item]) -> Iterator[tuple[Item, Execution | Exception]]:
        """
        Run programs, and yield the result of each as it comes. TemporaryFailure as a result asks for another attempt.

        Raises TemporaryFailure if the others have no result, or a `SandboxError` if the service refuses to work.
        """

    def failure(self, problem: str) -> SandboxError:
        """Return an error that names the address."""

    def abort(self) -> None:
        """Make running requests fail at once."""

    def close(self) -> None:
        """Close all connections. No request may be running."""


class _Host:
    """A service, and what is known about its health."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self.is_up = False
        self.is_missed = False  # whether a warning has said that it does not answer
        self.failures = 0  # in a row, while it is not up
        self.faults = 0  # programs in a row that it could not run, while it is up
        self.refusals = 0  # in a row, because it was busy
        self.problem: SandboxError | None = None  # why it refuses to work; another attempt soon is of no use
        self.retry_at = 0.0  # monotonic time before which it gets nothing
        self.threads: list[threading.Thread] = []


class Dispatcher:
    """Queue and lanes of one executor, in one process. They hold no reference to the executor."""

    def __init__(
        self, services: Sequence[Service], max_attempts: int, backoff_s: float, busy_timeout_s: float
    ) -> None:
        self.pid = os.getpid()
        self._max_attempts, self._first_backoff_s = max_attempts, backoff_s
        self._busy_timeout_s = busy_timeout_s
        self._busy_since: float | None = None  # monotonic time of the first refusal after the last result
        self._has_warned = False
        self._hosts = [_Host(service) for service in services]
        self._queue: deque[Item] = deque()
        self._changed = threading.Condition()
        self._closed = False

    def put(self, item: Item) -> None:
        """Add a program to the queue. Raise a `SandboxError` if the executor is closed."""
        with self._changed:
            if self._closed:
                raise SandboxError(CLOSED_MESSAGE)
            self._queue.append(item)
            for host in self._hosts:
                if not host.threads:
                    self._start_lane(host)
            self._changed.notify_all()

    def close(self) -> None:
        """Cancel waiting programs and abort running requests. Closing twice is allowed."""
        if os.getpid() != self.pid:  # after a fork, threads and connections belong to the parent
            return
        with self._changed:
            self._closed = True
            waiting, self._queue = tuple(self._queue), deque()
            self._changed.notify_all()
        for item in waiting:
            item.give_back()
        for host in self._hosts:
            host.service.abort()
        for host in self._hosts:
            for thread in host.threads:
                # A callback of a future, or the garbage collector, may have called from one of the lanes.
                if thread is not threading.current_thread():
                    thread.join()
            host.service.close()

    def _start_lane(self, host: _Host) -> None:
        name = f"stepcoder-remote-{self._hosts.index(host)}-{len(host.threads)}"
        host.threads.append(threading.Thread(target=self._serve, args=(host,), name=name, daemon=True))
        host.threads[-1].start()

    def _serve(self, host: _Host) -> None:
        """Take programs to a service until the executor is closed."""
        while self._is_ready(host):
            left = dict.fromkeys(self._take(host))
            if not left:  # another lane was faster
                continue
            try:
                for item, result in host.service.run(tuple(left)):
                    del left[item]
                    self._receive(host, item, result)
                    del item, result
            except (TemporaryFailure, SandboxError) as error:
                self._failed(host, error, tuple(left))
            except Exception as error:  # a defect of ours; whoever waits for the programs has to learn of it
                for item in tuple(left):
                    item.settle(error)
            del left  # its programs reference the executor, which may be collected now

    def _is_ready(self, host: _Host) -> bool:
        """Wait until there are programs and the service answers. Return `False` if the executor is closed."""
        while True:
            with self._changed:
                while not self._closed and (wait_s := self._wait_s(host)) > 0:
                    self._changed.wait(None if wait_s == math.inf else wait_s)
                if self._closed or host.is_up:
                    return not self._closed
                host.retry_at = math.inf  # one lane asks at a time
            self._connect(host)

    def _wait_s(self, host: _Host) -> float:
        """Return how long a lane has nothing to do. Infinite if it has to be told."""
        if not self._queue:
            return math.inf
        now = time.monotonic()
        ready_at = self._queue[0].ready_at
        if ready_at > now:
            ready_at = min(item.ready_at for item in self._queue)
        return max(ready_at, host.retry_at) - now

    def _connect(self, host: _Host) -> None:
        try:
            host.service.connect()
        except (TemporaryFailure, SandboxError) as error:
            if not is_busy(error):
                self._miss(host, error)
            self._failed(host, error, ())
            return
        except Exception as error:  # a defect of ours, which must not end the only lane that asks
            self._failed(host, host.service.failure(f"It could not be asked what it speaks: {error!r}"), ())
            return
        if host.is_missed:
            logger.warning("Sandbox %s answers again, and gets programs.", host.service.url)
        with self._changed:
            host.is_up, host.failures, host.problem, host.retry_at = True, 0, None, 0.0
            host.is_missed = False
            while len(host.threads) < host.service.lanes and not self._closed:
                self._start_lane(host)
            self._changed.notify_all()

    def _miss(self, host: _Host, error: TemporaryFailure | SandboxError) -> None:
        """Warn once of a service that does not answer."""
        with self._changed:
            is_news = not host.is_missed and not self._closed
            host.is_missed = True
        if is_news:
            others = "Its programs go to the other hosts, and it" if len(self._hosts) > 1 else "It"
            problem = str(error).rstrip(".")
            logger.warning("Sandbox %s does not answer: %s. %s is asked again.", host.service.url, problem, others)

    def _take(self, host: _Host) -> list[Item]:
        """Take a fair share of the programs that are ready."""
        with self._changed:
            now = time.monotonic()
            lanes = sum(one.service.lanes for one in self._hosts if one.is_up) or 1
            share = min(host.service.max_batch, math.ceil(len(self._queue) / lanes))
            taken: list[Item] = []
            later: list[Item] = []
            while self._queue and len(taken) < share:
                item = self._queue.popleft()
                (taken if item.ready_at <= now else later).append(item)
            self._queue.extendleft(reversed(later))
        return [item for item in taken if item.starts()]

    def _receive(self, host: _Host, item: Item, result: Execution | Exception) -> None:
        if not isinstance(result, TemporaryFailure):
            with self._changed:
                host.faults = host.refusals = 0
                self._busy_since = None
            item.settle(result)
            return
        with self._changed:
            host.faults += 1
            if self._is_other_up(host):  # a service that fails fast would take the programs of those that work
                host.retry_at = time.monotonic() + self._backoff_s(host.faults)
        self._try_again(host, (item,), str(result), self._backoff_s(item.failures + 1))

    def _failed(self, host: _Host, error: TemporaryFailure | SandboxError, left: Sequence[Item]) -> None:
        """Note a failure of a service. Programs without a result go to others, or are tried again later."""
        asked_s = error.wait_s if isinstance(error, TemporaryFailure) else None
        if is_busy(error):
            self._refused(host, str(error), asked_s, left)
            return
        with self._changed:
            was_up = host.is_up
            if isinstance(error, SandboxError):
                host.is_up, host.problem = False, error
            elif error.is_gone:
                host.is_up = False
            # The lanes of a service that went away all fail, but it failed once.
            is_news = was_up or not left
            if is_news and not host.is_up:
                host.failures += 1
            wait_s = self._backoff_s(max(1, host.failures) if not left else left[0].failures + 1)
            if asked_s is not None:
                wait_s = min(asked_s, _MAX_WAIT_S)
            if is_news:
                host.retry_at = time.monotonic() + wait_s
            self._changed.notify_all()
        self._try_again(host, left, str(error), wait_s)
        self._give_up(str(error))

    def _refused(self, host: _Host, problem: str, asked_s: float | None, left: Sequence[Item]) -> None:
        """
        Give a service that is busy nothing for a while. Its programs go to others, or wait, which is no attempt.

        If there was no result for too long, all programs fail that no service has taken.
        """
        now, most_s = time.monotonic(), self._busy_timeout_s
        with self._changed:
            host.refusals += 1
            host.retry_at = now + (self._backoff_s(host.refusals) if asked_s is None else min(asked_s, _MAX_WAIT_S))
            self._busy_since = now if self._busy_since is None else self._busy_since
            given_up: tuple[Item, ...] = ()
            if self._closed:
                given_up = tuple(left)
            elif now - self._busy_since >= most_s:
                given_up, self._queue, self._busy_since = (*left, *self._queue), deque(), None
            else:
                self._queue.extendleft(reversed(left))
            self._changed.notify_all()
            warns, self._has_warned = not self._has_warned, True
        if warns:
            fix = f"Programs wait up to {most_s:g} seconds for a result (`busy_timeout_s`). Add hosts if this lasts."
            logger.warning("%s %s", host.service.failure(problem), fix)
        tired = f"{problem}, and no result came for {most_s:g} seconds. Add hosts, or send fewer programs at a time"
        for item in given_up:
            if item.starts():
                item.settle(SandboxError(_ENDED_MESSAGE) if self._closed else host.service.failure(tired))

    def _is_other_up(self, host: _Host) -> bool:
        return any(other.is_up for other in self._hosts if other is not host)

    def _try_again(self, host: _Host, items: Sequence[Item], problem: str, wait_s: float) -> None:
        """Put programs back into the queue. Those that were tried too often fail."""
        again = []
        with self._changed:
            ready_at = 0.0 if self._is_other_up(host) else time.monotonic() + wait_s
            for item in items:
                item.failures += 1
                item.ready_at = ready_at
                if item.failures < self._max_attempts and not self._closed:
                    again.append(item)
            if len(again) < len(items):
                self._busy_since = None
            self._queue.extendleft(reversed(again))
            self._changed.notify_all()
        for item in items:
            if item not in again:
                item.settle(SandboxError(_ENDED_MESSAGE) if self._closed else self._tried(host, problem))

    def _give_up(self, problem: str) -> None:
        """Let all programs fail if no service is left that could run them."""
        with self._changed:
            hopeless = [one for one in self._hosts if one.problem or one.failures >= self._max_attempts]
            if len(hopeless) < len(self._hosts):
                return
            waiting, self._queue, self._busy_since = tuple(self._queue), deque(), None
        for item in waiting:
            if item.starts():
                last = hopeless[-1]
                item.settle(last.problem or self._tried(last, problem))

    def _tried(self, host: _Host, problem: str) -> SandboxError:
        return host.service.failure(f"{problem}, {self._max_attempts} times. Check that the service is up")

    def _backoff_s(self, attempt: int) -> float:
        longest_s = self._first_backoff_s * float(2 ** min(attempt - 1, 20))
        return random.uniform(0.5, 1.0) * min(longest_s, _MAX_WAIT_S)
