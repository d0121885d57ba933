"""The nodes of a Ray cluster, and actors on them, behind futures of the standard library. Nothing else calls Ray."""

from __future__ import annotations

import logging
import threading
import warnings
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import ray
from ray.exceptions import RayActorError, RayError, RayTaskError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from stepcoder_trl.errors import SandboxError
from stepcoder_trl.executor.local.config import ExecutorConfig
from stepcoder_trl.executor.ray.node import NodeExecutor, defect
from stepcoder_trl.executor.verdict.schema import Tests


RESOURCE = "stepcoder"  # if a node offers this resource, only those that do run programs


@dataclass(frozen=True)
class Node:
    """Node that may run programs."""

    id: str
    address: str
    cpus: int


class HostLost(Exception):
    """Raised by the future of a call whose actor or node is gone."""


class Host:
    """Actor on one node. Each call returns a future, which raises [`HostLost`] if the actor is gone."""

    def __init__(self, node: Node, config: ExecutorConfig) -> None:
        place = NodeAffinitySchedulingStrategy(node_id=node.id, soft=False)
        # No resources are reserved: training has those of its own node, and a sandbox node has no other work.
        self._actor = ray.remote(NodeExecutor).options(num_cpus=0, scheduling_strategy=place).remote(config)

    def describe(self) -> Future[Any]:
        """Return the future of the node's facts."""
        return _future(self._actor.describe.remote())

    def run(self, program: str, key: int, tests: Tests) -> Future[Any]:
        """Return the future of a program's result. `key` is a number of its tests."""
        return _future(self._actor.run.remote(program, key, tests))

    def ping(self) -> Future[Any]:
        """Return the future of a sign of life."""
        return _future(self._actor.ping.remote())

    def kill(self) -> None:
        """End the actor, if it still runs."""
        with _ray_failures():
            ray.kill(self._actor)


class Cluster:
    """Cluster that this process is connected to."""

    def connect(self) -> None:
        """
        Connect to the cluster of `RAY_ADDRESS`, or one that runs on this machine, or start one.

        Raises:
            SandboxError: If the cluster does not answer.
        """
        if not ray.is_initialized():
            with _ray_failures():
                _init()

    def nodes(self) -> list[Node]:
        """Return the nodes that are alive and may run programs. Raises a `SandboxError` if the cluster is gone."""
        with _ray_failures():
            alive = [node for node in ray.nodes() if node["Alive"]]
        chosen = [node for node in alive if node["Resources"].get(RESOURCE)] or alive
        found = [Node(one["NodeID"], one["NodeManagerAddress"], int(one["Resources"].get("CPU", 0))) for one in chosen]
        return [node for node in found if node.cpus]

    def start(self, node: Node, config: ExecutorConfig) -> Host:
        """Start an actor on a node."""
        with _ray_failures():
            return Host(node, config)


def _init() -> None:
    """Connect in a thread that never ends: the processes of a cluster end with the thread that started them."""
    connected: Future[None] = Future()

    def connect() -> None:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # about devices of its own future versions
                ray.init(include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
        except Exception as error:
            connected.set_exception(error)
            return
        connected.set_result(None)
        threading.Event().wait()

    threading.Thread(target=connect, name="stepcoder-ray-start", daemon=True).start()
    connected.result()


@contextmanager
def _ray_failures() -> Iterator[None]:
    """Turn failures of Ray into a `SandboxError`."""
    try:
        yield
    except (RayError, ConnectionError, RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split())[:300]
        raise SandboxError(f"The Ray cluster does not work ({reason}). `ray status` shows its nodes.") from error


def _future(reference: Any) -> Future[Any]:
    """
    Return the future of a call. What Ray raises for a lost actor becomes [`HostLost`].

    What the call itself raised, as for an argument that cannot be read there, is a `SandboxError` as a result: the
    actor goes on.
    """
    result: Future[Any] = Future()

    def settle(answered: Future[Any]) -> None:
        error = answered.exception()
        if error is None:
            result.set_result(answered.result())
        elif isinstance(error, RayTaskError) and not isinstance(error, RayActorError):
            result.set_result(defect(error))
        else:
            result.set_exception(HostLost(" ".join(str(error).split())[:300]))

    reference.future().add_done_callback(settle)
    return result
