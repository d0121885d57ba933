"""
One thread that gives programs to hosts, and gives them to others when a host is gone.

All that changes is changed by this thread, which takes its work from one queue: programs, answers of hosts, and the
end. A program whose host is gone waits again, before all others. It may then run twice, but its future is set once.
"""

from __future__ import annotations

import itertools
import logging
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Protocol

from stepcoder_trl.errors import IsolationError, SandboxError
from stepcoder_trl.executor.announce import announce
from stepcoder_trl.executor.local.config import ExecutorConfig
from stepcoder_trl.executor.pending import Pending
from stepcoder_trl.executor.ray import policy
from stepcoder_trl.executor.ray.node import defect, own_version
from stepcoder_trl.executor.verdict.schema import Tests


CLOSED_MESSAGE = "This executor is closed. Create a new one."
_MAX_LOSSES = 5  # hosts that may be lost under a program
_MAX_FAILURES = 3  # hosts whose sandbox may fail to run a program
_MOST_RESTS = 9  # each twice as long as the last, up to 51 seconds

logger = logging.getLogger(__name__)
_numbers = itertools.count()


class HostLike(Protocol):
    """Actor on a node, see `cluster.Host`."""

    def describe(self) -> Future[Any]: ...
    def run(self, program: str, key: int, tests: Tests) -> Future[Any]: ...
    def ping(self) -> Future[Any]: ...
    def kill(self) -> None: ...


class NodeLike(Protocol):
    """Node that may run programs, see `cluster.Node`."""

    @property
    def id(self) -> str: ...
    @property
    def address(self) -> str: ...
    @property
    def cpus(self) -> int: ...


class ClusterLike(Protocol):
    """Cluster, see `cluster.Cluster`."""

    def connect(self) -> None: ...
    def nodes(self) -> list[Any]: ...
    def start(self, node: Any, config: ExecutorConfig) -> HostLike: ...


@dataclass(frozen=True)
class Timing:
    """Seconds between looks at the cluster, without a host before programs are given up, and of silence of a host."""

    refresh_s: float = 5.0
    patience_s: float = 120.0
    silence_s: float = 60.0


@dataclass(eq=False)
class Job(Pending):
    """Program that waits or runs."""

    program: str
    tests: Tests
    owner: object  # the executor, which must not be collected before its programs have run
    losses: int = 0
    failures: int = 0


@dataclass(eq=False)
class _Slot:
    """Node, its actor, and what runs there."""

    node: NodeLike
    host: HostLike
    num_workers: int
    ready: bool = False
    jobs: set[Job] = field(default_factory=set)
    failures: int = 0  # in a row
    rests_until_s: float = 0.0
    pinged_s: float | None = None  # when a sign of life was asked for that has not come

    @property
    def load(self) -> int:
        return len(self.jobs)


class Dispatcher:
    """
    Thread that spreads programs over the nodes of a cluster.

    Args:
        cluster ([`ClusterLike`]): Cluster.
        config ([`ExecutorConfig`]): Settings of each node. Without `num_workers`, a node has one worker per CPU.
        num_drivers (`int`): Number of processes that share the nodes. Each gets its part of their CPUs.
        timing ([`Timing`]): Intervals.
    """

    def __init__(self, cluster: ClusterLike, config: ExecutorConfig, num_drivers: int, timing: Timing) -> None:
        self.layers: dict[str, bool] = {}  # of the nodes that have started; a layer counts if all have it
        self.missing: dict[str, str] = {}
        self._cluster, self._config, self._num_drivers, self._timing = cluster, config, num_drivers, timing
        self._events: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._waiting: deque[Job] = deque()
        self._slots: dict[str, _Slot] = {}  # by node
        self._refused: dict[str, SandboxError] = {}  # nodes that will never do, and why
        self._problem = "no node has started its sandbox"
        self._refreshed_s = -float("inf")
        self._hostless_since_s: float | None = None
        self._closed = False
        self._lock = threading.Lock()  # of `_closed`, against programs that come after the end
        self._thread = threading.Thread(target=self._serve, name="stepcoder-ray", daemon=True)
        self._thread.start()

    def put(self, job: Job) -> None:
        """Add a program. Raises a `SandboxError` if the executor is closed."""
        with self._lock:
            if self._closed:
                raise SandboxError(CLOSED_MESSAGE)
            self._events.put(partial(self._waiting.append, job))

    def close(self) -> None:
        """End all actors. Programs that wait are cancelled, and those that run get an error."""
        with self._lock:
            self._closed = True
        self._events.put(None)
        if threading.current_thread() is not self._thread:  # a callback may have called
            self._thread.join()

    # All below runs in the thread

    def _serve(self) -> None:
        try:
            self._run()
        finally:  # also after an error of our own: nobody may wait for ever
            with self._lock:
                self._closed = True
            self._end()

    def _run(self) -> None:
        try:
            self._cluster.connect()
        except SandboxError as error:
            self._problem = str(error)
        while self._handle_events():
            now_s = time.monotonic()
            if now_s - self._refreshed_s >= self._timing.refresh_s:
                self._refresh(now_s)
            self._assign(now_s)

    def _handle_events(self) -> bool:
        """Handle all that has happened, waiting for a moment if nothing has. Return whether to go on."""
        timeout_s: float | None = self._timing.refresh_s
        while True:
            try:
                event = self._events.get(timeout=timeout_s) if timeout_s else self._events.get_nowait()
            except queue.Empty:
                return True
            if event is None:
                return False
            event()
            timeout_s = None

    def _refresh(self, now_s: float) -> None:
        """Start actors on nodes that have none, and give up hosts that are silent."""
        self._refreshed_s = now_s
        try:
            nodes = self._cluster.nodes()
            for node in nodes:
                if node.id not in self._slots and node.id not in self._refused:
                    self._start(node)
        except SandboxError as error:
            self._problem = str(error)
        for slot in tuple(self._slots.values()):
            self._watch(slot, now_s)
        self._give_up_without_hosts(now_s)

    def _start(self, node: NodeLike) -> None:
        num_workers = self._config.num_workers or max(1, node.cpus // self._num_drivers)
        host = self._cluster.start(node, replace(self._config, num_workers=num_workers))
        slot = self._slots[node.id] = _Slot(node, host, num_workers)
        self._then(host.describe(), partial(self._described, slot))

    def _described(self, slot: _Slot, answer: Future[Any]) -> None:
        """Use a host that has started, or refuse its node."""
        if (error := answer.exception()) is not None:
            self._lose(slot, f"the actor did not start ({error})")
            return
        facts = answer.result()
        where = f"node {slot.node.address}"
        if isinstance(facts, SandboxError):
            if isinstance(facts, IsolationError):
                self._refused[slot.node.id] = facts
            self._lose(slot, str(facts))
        elif facts.version != own_version():
            problem = f"{where} has stepcoder-trl {facts.version}, this process {own_version()}: install the same"
            self._refused[slot.node.id] = SandboxError(f"{problem}.")
            self._lose(slot, problem)
        elif slot.node.id in self._slots:
            slot.ready = True
            announce(facts.layers, facts.missing, self._config.isolation, where)
            self.missing = {**self.missing, **facts.missing}
            names = {**facts.layers, **self.layers}
            self.layers = {name: facts.layers.get(name, False) and self.layers.get(name, True) for name in names}

    def _watch(self, slot: _Slot, now_s: float) -> None:
        """Ask a host for a sign of life. One that has not answered the last question for long is lost."""
        if slot.pinged_s is None:
            slot.pinged_s = now_s
            self._then(slot.host.ping(), partial(self._answered, slot))
        elif now_s - slot.pinged_s > self._timing.silence_s:
            self._lose(slot, f"it was silent for {now_s - slot.pinged_s:.0f} s")

    def _answered(self, slot: _Slot, answer: Future[Any]) -> None:
        slot.pinged_s = None
        if (error := answer.exception()) is not None:
            self._lose(slot, str(error))

    def _give_up_without_hosts(self, now_s: float) -> None:
        """Give up all programs if no host has been ready for long, or none ever will be."""
        if any(slot.ready for slot in self._slots.values()) or not self._waiting:
            self._hostless_since_s = None
            return
        self._hostless_since_s = self._hostless_since_s or now_s
        is_over = now_s - self._hostless_since_s > self._timing.patience_s
        if is_over or (self._refused and not self._slots):
            refused = next(iter(self._refused.values()), None)
            error = refused or SandboxError(f"No node of the Ray cluster runs programs: {self._problem.rstrip('.')}.")
            while self._waiting:
                job = self._waiting.popleft()
                if job.starts():
                    job.settle(error)
            self._hostless_since_s = None

    def _assign(self, now_s: float) -> None:
        """Give programs to the least busy hosts, as long as one has room."""
        ready = [slot for slot in self._slots.values() if slot.ready]
        awake = [slot for slot in ready if slot.rests_until_s <= now_s] or ready
        while self._waiting:
            index = policy.least_busy((slot.load, slot.num_workers) for slot in awake)
            if index is None or not policy.has_room(awake[index].load, awake[index].num_workers):
                return
            job = self._waiting.popleft()
            if job.starts():
                self._send(awake[index], job)

    def _send(self, slot: _Slot, job: Job) -> None:
        slot.jobs.add(job)
        # The number of the tests is kept with them, so that a host prepares them once for all their programs.
        key = job.tests.prepared.setdefault("ray", next(_numbers))
        try:
            answer = slot.host.run(job.program, key, job.tests)
        except Exception as error:  # it could not be sent, which must not end this thread
            answer = Future()
            answer.set_result(defect(error))
        self._then(answer, partial(self._ran, slot, job))

    def _ran(self, slot: _Slot, job: Job, answer: Future[Any]) -> None:
        """Settle a program, or let it wait again."""
        if (error := answer.exception()) is not None:
            self._lose(slot, str(error))
            return
        if job not in slot.jobs:  # the host was given up in the meantime
            return
        slot.jobs.remove(job)
        result = answer.result()
        if not isinstance(result, SandboxError):
            slot.failures = 0
            job.settle(result)
            return
        # A broken host is quick, so it rests, or it would get all programs.
        slot.failures = min(slot.failures + 1, _MOST_RESTS)
        slot.rests_until_s = time.monotonic() + 0.1 * 2**slot.failures
        job.failures += 1
        if job.failures < _MAX_FAILURES and not isinstance(result, IsolationError):
            self._waiting.appendleft(job)
        else:
            job.settle(result)

    def _lose(self, slot: _Slot, problem: str) -> None:
        """Give up a host. Its programs wait again. Its node gets another actor if it is still there."""
        if self._slots.get(slot.node.id) is not slot:
            return
        del self._slots[slot.node.id]
        self._problem = f"node {slot.node.address}: {problem}"
        logger.warning("%s is lost, and its %d programs run again.", self._problem.rstrip("."), slot.load)
        jobs = list(slot.jobs)
        slot.jobs.clear()
        for job in jobs:
            job.losses += 1
            if job.losses >= _MAX_LOSSES:
                job.settle(SandboxError(f"A program could not be executed: {job.losses} nodes were lost under it."))
        self._wait_again(job for job in jobs if job.losses < _MAX_LOSSES)
        self._kill(slot)

    def _kill(self, slot: _Slot) -> None:
        try:
            slot.host.kill()
        except SandboxError as error:
            logger.debug("An actor could not be ended: %s", error)

    def _wait_again(self, jobs: Iterable[Job]) -> None:
        self._waiting.extendleft(reversed(list(jobs)))

    def _then(self, answer: Future[Any], handle: Callable[[Future[Any]], None]) -> None:
        """Handle an answer in this thread, once it has come."""
        answer.add_done_callback(lambda done: self._events.put(partial(handle, done)))

    def _end(self) -> None:
        """Cancel what waits, fail what runs, and end the actors."""
        while True:  # programs that came before the end, and answers
            try:
                event = self._events.get_nowait()
            except queue.Empty:
                break
            if event is not None:
                event()
        for job in self._waiting:
            if not job.future.cancel():
                job.settle(SandboxError("This executor was closed before the program had ended."))
        for slot in self._slots.values():
            for job in slot.jobs:
                job.settle(SandboxError("This executor was closed before the program had ended."))
            self._kill(slot)
