"""Programs on three Ray nodes of this machine, one of which dies under load."""

from __future__ import annotations

import os
import signal
import threading
import time

import psutil
import pytest

from stepcoder_trl.errors import BadInputError, SandboxError
from stepcoder_trl.executor import Backend, CodeExecutor, ExecutorConfig, RayExecutor
from stepcoder_trl.executor.choice import ExecutorChoice
from stepcoder_trl.executor.ray.dispatch import Timing
from stepcoder_trl.executor.verdict.schema import Tests
from tests.fixed_verdicts import differences, samples, verdicts


pytestmark = pytest.mark.sandbox
COUNT = 300
QUICK = Timing(refresh_s=0.2)


def slow_identity(number):
    """Return a program that takes some milliseconds and prints its number, and a test that shows which one ran."""
    program = f"total = sum(range(200_000))\nprint({number})\n"
    return program, {"type": "stdio", "inputs": [""], "outputs": [str(number if number % 3 else -1)]}


def expected(number):
    return "passed" if number % 3 else "failed"


def actors():
    """Return the processes of actors that run programs."""
    return [one for one in psutil.process_iter(["cmdline"]) if "NodeExecutor" in " ".join(one.info["cmdline"] or [])]


def submit_all(executor):
    return [executor.submit(*slow_identity(number)) for number in range(COUNT)]


def check_all(futures):
    """Check that each program has one result, its own."""
    results = [future.result(120) for future in futures]

    assert [str(one.outcome) for one in results] == [expected(number) for number in range(COUNT)]
    assert all(one.executed_lines == {1, 2} for one in results)


def wait_until(condition, seconds=60.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_verdicts_and_lines_are_those_of_a_local_executor(cluster):
    programs = samples()
    config = ExecutorConfig(num_workers=1, timeout_s=3.0)

    with CodeExecutor(config) as local, ExecutorChoice(config, "ray").open() as executor:
        assert isinstance(executor, RayExecutor)
        assert isinstance(executor, Backend)
        assert differences(verdicts(local, programs), verdicts(executor, programs)) == {}
        assert executor.layers == local.layers
        assert len(actors()) == 3
    wait_until(lambda: not actors())


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_a_killed_or_stopped_actor_loses_doubles_and_reorders_nothing(cluster, number):
    timing = Timing(refresh_s=0.2, silence_s=10.0)
    settled = []
    with RayExecutor(timing=timing) as executor:
        wait_until(lambda: executor.layers and len(actors()) == 3)
        futures = submit_all(executor)
        for place, future in enumerate(futures):
            future.add_done_callback(lambda _, place=place: settled.append(place))
        wait_until(lambda: sum(future.done() for future in futures) > 20)
        victim = actors()[0]
        os.kill(victim.pid, number)
        assert not all(future.done() for future in futures)

        check_all(futures)
        wait_until(lambda: victim.pid not in [one.pid for one in actors()])
        wait_until(lambda: len(actors()) == 3)  # its node has another

    assert sorted(settled) == list(range(COUNT))


def test_a_program_that_fails_unexpectedly_costs_no_other(cluster):
    """One fails on the node, one cannot be sent there. Neither is a lost actor, nor an outcome."""
    odd = [("x", Tests({"type": "odd"})), ("x", Tests({"type": "stdio", "inputs": [threading.Lock()]}))]
    with RayExecutor(timing=QUICK) as executor:
        wait_until(lambda: executor.layers and len(actors()) == 3)
        before = {one.pid for one in actors()}
        programs, tests = zip(*odd, *map(slow_identity, range(20)), strict=True)
        results = executor.run_many(programs, tests, on_error="return")

        assert {one.pid for one in actors()} == before
    assert all(isinstance(one, SandboxError) for one in results[:2])
    assert [str(one.outcome) for one in results[2:]] == [expected(number) for number in range(20)]


def test_a_killed_node_loses_nothing_and_a_new_one_is_used(cluster):
    with RayExecutor(timing=QUICK) as executor:
        wait_until(lambda: executor.layers and len(actors()) == 3)
        futures = submit_all(executor)
        wait_until(lambda: sum(future.done() for future in futures) > 20)
        cluster.remove_node(next(iter(cluster.worker_nodes)), allow_graceful=False)

        check_all(futures)
        assert len(actors()) == 2

        cluster.add_node(num_cpus=1)
        wait_until(lambda: len(actors()) == 3)
        check_all(submit_all(executor))


def test_only_nodes_that_offer_the_resource_run_programs(cluster):
    node = cluster.add_node(num_cpus=1, resources={"stepcoder": 1})
    with RayExecutor(timing=QUICK) as executor:
        assert executor.run(*slow_identity(1)).outcome == "passed"
        assert len(actors()) == 1
    cluster.remove_node(node)


def test_invalid_tests_and_a_closed_executor_are_refused_at_once(cluster):
    executor = RayExecutor()
    with pytest.raises(BadInputError):
        executor.submit("pass", {"type": "stdio"})
    executor.close()
    with pytest.raises(SandboxError, match="closed"):
        executor.submit(*slow_identity(1))
