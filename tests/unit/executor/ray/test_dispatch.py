"""Spreading over hosts that answer, fail, die and fall silent. tests/ray has the same with Ray itself."""

from __future__ import annotations

import asyncio
import logging
import time
from concurrent.futures import Future
from dataclasses import dataclass

import pytest

from stepcoder_trl.errors import IsolationError, SandboxError
from stepcoder_trl.executor import ExecutorConfig, RayExecutor
from stepcoder_trl.executor.ray.dispatch import Timing
from stepcoder_trl.executor.ray.node import NodeExecutor, NodeFacts, own_version
from stepcoder_trl.executor.verdict.schema import Tests
from stepcoder_trl.types import Execution, Outcome


TESTS = {"type": "stdio", "inputs": [""], "outputs": ["1"]}
LAYERS = {"seccomp": True, "landlock": True}
ODD = None  # program that cannot be sent to a host
QUICK = Timing(refresh_s=0.01, patience_s=0.2, silence_s=0.1)


def execution(program):
    return Execution(Outcome.PASSED, (), frozenset({len(program)}), frozenset(), 0.0, True)


@dataclass(frozen=True)
class Node:
    id: str
    address: str
    cpus: int = 1


class Gone(Exception):
    """Raised by a call to an actor that is gone."""


def done(result=None, error=None):
    future = Future()
    if error is None:
        future.set_result(result)
    else:
        future.set_exception(error)
    return future


class Host:
    """Host that runs programs at once, except as its kind says."""

    def __init__(self, node, config, cluster):
        self.node, self.config, self.cluster, self.killed = node, config, cluster, False
        self.kind = cluster.kinds.get(node.id, "good")
        self.held: list[tuple[Future, list]] = []
        self.seen: list[str] = []

    def describe(self):
        if self.kind == "refuses":
            return done(IsolationError("`isolation` is strict."))
        layers = {**LAYERS, "landlock": self.kind != "without landlock"}
        return done(NodeFacts("0.0" if self.kind == "old" else own_version(), layers, {}))

    def run(self, program, key, tests):
        self.seen.append(program)
        if program == ODD:
            raise TypeError("it cannot be sent")
        if self.kind == "dies":
            self.cluster.kinds.pop(self.node.id, None)  # its successor is good
            return done(error=Gone("the actor died"))
        if self.kind == "always dies":
            return done(error=Gone("the actor died"))
        if self.kind == "broken":
            return done(SandboxError("disk full"))
        if self.kind == "silent":
            return Future()
        return done(execution(program))

    def ping(self):
        return Future() if self.kind == "silent" and self.seen else done()

    def kill(self):
        self.killed = True


class Cluster:
    """Nodes whose hosts have kinds."""

    def __init__(self, **kinds):
        self.kinds, self.hosts = kinds, []
        self.present = [Node(name, name) for name in kinds]

    def connect(self):
        pass

    def nodes(self):
        return list(self.present)

    def start(self, node, config):
        self.hosts.append(Host(node, config, self))
        return self.hosts[-1]


def run(cluster, count=50, **options):
    programs = ["x" * number for number in range(1, count + 1)]
    with RayExecutor(cluster=cluster, timing=QUICK, **options) as executor:
        return programs, executor.run_many(programs, [TESTS] * count, on_error="return")


def is_whole(programs, results):
    return results == [execution(program) for program in programs]


def test_results_are_in_order_and_every_host_works():
    cluster = Cluster(a="good", b="good")

    assert is_whole(*run(cluster))
    assert all(host.seen for host in cluster.hosts)
    assert all(host.killed for host in cluster.hosts)


def test_program_that_cannot_be_sent_costs_no_other(monkeypatch):
    monkeypatch.setattr("tests.unit.executor.ray.test_dispatch.ODD", "xxx")

    programs, results = run(Cluster(a="good"), count=20)

    assert isinstance(results.pop(2), SandboxError)
    assert is_whole(programs[:2] + programs[3:], results)


def test_unexpected_error_of_one_program_on_a_node_is_its_result():
    node = NodeExecutor(ExecutorConfig(num_workers=1))

    found = asyncio.run(node.run("x", 1, Tests({"type": "odd"})))

    assert isinstance(found, SandboxError)
    assert "KeyError" in str(found)


@pytest.mark.parametrize("kind", ["dies", "always dies", "silent", "broken"])
def test_programs_of_a_bad_host_run_on_the_other(kind, caplog):
    cluster = Cluster(bad=kind, good="good")

    with caplog.at_level(logging.WARNING, logger="stepcoder_trl"):
        assert is_whole(*run(cluster))

    assert cluster.hosts[0].seen
    assert ("node bad: " in caplog.text) == (kind != "broken")


def test_a_node_whose_actor_died_gets_another():
    cluster = Cluster(a="dies")

    assert is_whole(*run(cluster))
    assert len(cluster.hosts) == 2


def test_a_broken_host_rests_and_gets_few_programs():
    cluster = Cluster(bad="broken", good="good")

    run(cluster, count=200)

    assert len(cluster.hosts[0].seen) < 50


@pytest.mark.parametrize(
    ("kinds", "message"),
    [
        ({"a": "broken"}, "disk full"),
        ({"a": "always dies"}, "5 nodes were lost under it"),
        ({"a": "refuses"}, "`isolation` is strict."),
        ({"a": "old"}, "has stepcoder-trl 0.0"),
        ({}, "No node of the Ray cluster runs programs: no node has started its sandbox."),
    ],
)
def test_what_nobody_can_run_is_an_error_and_no_outcome(kinds, message):
    _, results = run(Cluster(**kinds), count=3)

    assert [type(one) for one in results] == [IsolationError if "refuses" in kinds.values() else SandboxError] * 3
    assert all(message in str(one) for one in results)


def test_a_cluster_that_does_not_answer_is_an_error():
    cluster = Cluster(a="good")

    def nodes():
        raise SandboxError("the head is gone")

    cluster.nodes = nodes
    _, results = run(cluster, count=2)

    assert all("the head is gone" in str(one) for one in results)


def test_a_node_that_joins_gets_programs():
    cluster = Cluster(a="silent")
    with RayExecutor(cluster=cluster, timing=Timing(refresh_s=0.01)) as executor:
        future = executor.submit("x", TESTS)
        cluster.present.append(Node("b", "b"))

        assert executor.submit("xy", TESTS).result(10) == execution("xy")
        assert not future.done()


def test_workers_are_shared_by_the_processes_of_a_run():
    cluster = Cluster()
    cluster.present = [Node("a", "a", cpus=8)]

    run(cluster, count=1, num_drivers=4)
    run(cluster, count=1, num_drivers=16)
    run(cluster, count=1, config=ExecutorConfig(num_workers=3))

    assert [host.config.num_workers for host in cluster.hosts] == [2, 1, 3]


def test_layers_are_those_of_all_nodes():
    with RayExecutor(cluster=Cluster(a="good", b="without landlock"), timing=QUICK) as executor:
        assert executor.layers == {"seccomp": True, "landlock": False}


def test_closing_ends_what_waits_and_what_runs():
    cluster = Cluster(a="silent")
    executor = RayExecutor(cluster=cluster, timing=Timing(refresh_s=0.01))
    futures = [executor.submit("x" * number, TESTS) for number in range(1, 10)]
    while not cluster.hosts or not cluster.hosts[0].seen:
        time.sleep(0.001)

    executor.close()
    executor.close()

    assert all(one.cancelled() or isinstance(one.exception(), SandboxError) for one in futures)
    assert cluster.hosts[0].killed
    with pytest.raises(SandboxError, match="closed"):
        executor.submit("x", TESTS)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_nobody_waits_for_ever_after_an_error_of_our_own():
    cluster = Cluster(a="good")

    def start(node, config):
        raise TypeError("a mistake")

    cluster.start = start
    with RayExecutor(cluster=cluster, timing=QUICK) as executor:
        future = executor.submit("x", TESTS)
        with pytest.raises(SandboxError, match="closed"):
            executor.run("x", TESTS)

    assert future.cancelled() or future.exception(5)
