"""`RayExecutor`: runs programs on the nodes of a Ray cluster."""

from __future__ import annotations

import os
import threading
import weakref
from concurrent.futures import Future

from stepcoder_trl.errors import SandboxError
from stepcoder_trl.executor.backend import HARMLESS_PROGRAM, HARMLESS_TESTS, ConfiguredBackend, TestsLike
from stepcoder_trl.executor.local.config import ExecutorConfig
from stepcoder_trl.executor.ray.dispatch import CLOSED_MESSAGE, ClusterLike, Dispatcher, Job, Timing
from stepcoder_trl.executor.verdict.recent import RecentTests
from stepcoder_trl.types import Execution


class RayExecutor(ConfiguredBackend):
    """
    Executor that runs untrusted Python programs on the nodes of a Ray cluster.

    Each node has one actor with a [`CodeExecutor`], so results equal those of a local one on the same layers. It
    connects with the first program: to the cluster of `RAY_ADDRESS`, else to one that runs on this machine, else it
    starts one here. Nodes without CPUs (`ray start --num-cpus 0`) run no programs. If nodes offer the resource
    `stepcoder` (`ray start --resources '{"stepcoder": 1}'`), only those do. Nodes may join and leave.

    The programs of an actor or a node that is gone run again on others. A program that cannot be run there either
    raises a `SandboxError`; it is never an outcome.

    Args:
        config (`ExecutorConfig`, *optional*): Settings of each node. `num_workers` defaults to its CPUs.
        num_drivers (`int`, *optional*, defaults to `1`): Processes like this one, which share the CPUs of each node.
        cluster (*optional*): Cluster; by default the one that Ray finds.
        timing ([`Timing`], *optional*): Intervals in which nodes are looked after.
    """

    config: ExecutorConfig

    def __init__(
        self,
        config: ExecutorConfig | None = None,
        *,
        num_drivers: int = 1,
        cluster: ClusterLike | None = None,
        timing: Timing | None = None,
    ) -> None:
        self.config = config or ExecutorConfig()
        self.num_drivers = num_drivers
        if cluster is None:
            from stepcoder_trl.executor.ray.cluster import Cluster

            cluster = Cluster()
        self._cluster, self._timing = cluster, timing or Timing()
        self._recent = RecentTests()
        self._lock = threading.Lock()
        self._dispatcher: Dispatcher | None = None
        self._closed = False
        self._pid = os.getpid()

    def submit(self, program: str, tests: TestsLike) -> Future[Execution]:
        """Run a program in the background, see [`Backend`]."""
        job = Job(program, self._recent.parse(tests), owner=self)
        self._running().put(job)
        return job.future

    @property
    def layers(self) -> dict[str, bool]:
        """Return the isolation layers by name, `True` where each node that has started has it."""
        return dict(self._started().layers)

    @property
    def missing_layers(self) -> dict[str, str]:
        """Return the layers that a node lacks, and what each would have prevented."""
        return dict(self._started().missing)

    def close(self) -> None:
        """
        End all actors. Closing twice is allowed. A cluster that was started here ends with this process.

        Programs that have not started are cancelled. The futures of those that run raise a `SandboxError`.
        """
        with self._lock:
            self._closed = True
            dispatcher, self._dispatcher = self._dispatcher, None
        if dispatcher is not None:
            dispatcher.close()

    def _started(self) -> Dispatcher:
        """Return the dispatcher, once a node has started."""
        dispatcher = self._running()
        if not dispatcher.layers:
            self.run(HARMLESS_PROGRAM, HARMLESS_TESTS)
        return dispatcher

    def _running(self) -> Dispatcher:
        with self._lock:
            if self._closed:
                raise SandboxError(CLOSED_MESSAGE)
            if self._pid != os.getpid():
                raise SandboxError("Ray does not work in a forked process. Create the executor there, or spawn it.")
            if self._dispatcher is None:
                self._dispatcher = Dispatcher(self._cluster, self.config, self.num_drivers, self._timing)
                weakref.finalize(self, self._dispatcher.close)
            return self._dispatcher
