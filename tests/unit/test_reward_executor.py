"""Executor of `unit_test_reward`, used if no trainer passes executions."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from stepcoder_trl.executor.local import server_process
from stepcoder_trl.executor.selftest.leftovers import children_of_ours, descendants
from stepcoder_trl.executor.verdict import schema
from stepcoder_trl.executor.wire.system import num_cores
from stepcoder_trl.rewards import close_executor, unit_test_reward
from tests.processes import soon, with_temporary_folder


pytestmark = pytest.mark.sandbox
TESTS = {"type": "stdio", "inputs": [""], "outputs": ["3"]}


@pytest.fixture(autouse=True)
def _no_executor_before_or_after() -> Iterator[None]:
    close_executor()
    yield
    close_executor()


def score(*programs):
    return unit_test_reward(list(programs), tests=[TESTS] * len(programs))


def test_programs_are_run_if_no_executions_are_passed():
    assert score("```python\nprint(3)\n```", "print(4)") == [1.0, -0.3]


@pytest.mark.parametrize("tests", [TESTS, json.dumps(TESTS)], ids=["object", "text"])
def test_tests_of_a_group_are_parsed_once(tests, monkeypatch):
    parsed = []
    check = schema.validate_tests
    monkeypatch.setattr(schema, "validate_tests", lambda *given: (parsed.append(1), check(*given))[1])

    scores = unit_test_reward(["print(3)", "print(4)", "print(3)"], tests=[tests] * 3)

    assert scores == [1.0, -0.3, 1.0]
    assert len(parsed) == 1


def test_batches_share_one_executor():
    score("print(3)")
    workers = children_of_ours()

    for _ in range(3):
        score("print(3)")

    assert workers
    assert workers <= children_of_ours()


def test_threads_share_one_executor(monkeypatch):
    starts = []
    bootstrap = server_process._bootstrap
    monkeypatch.setattr(server_process, "_bootstrap", lambda *fds: (starts.append(1), bootstrap(*fds))[1])

    with ThreadPoolExecutor(8) as threads:
        results = list(threads.map(score, ["print(3)", "print(4)"] * 8))

    assert results == [[1.0], [-0.3]] * 8
    assert 1 <= len(starts) <= num_cores()


def test_closed_executor_leaves_no_process_and_is_replaced():
    before = descendants()
    score("print(3)")

    close_executor()

    assert soon(lambda: descendants() == before)
    assert score("print(3)") == [1.0]


def run_script(body, tmp_path):
    """Run a script. The temporary folder identifies the servers that it starts."""
    path = tmp_path / "script.py"
    path.write_text(SCRIPT + textwrap.dedent(body))
    environment = {**os.environ, "TMPDIR": str(tmp_path), "PYTHONPATH": str(Path(__file__).parents[2])}
    return subprocess.run([sys.executable, path], env=environment, capture_output=True, text=True, timeout=120)


SCRIPT = f"""
import multiprocessing, os, sys
from stepcoder_trl.rewards import unit_test_reward


def score(program):
    return unit_test_reward([program], tests=[{TESTS!r}])
"""


def test_exit_leaves_no_process_and_no_folder(tmp_path):
    done = run_script("print(score('print(3)'))", tmp_path)

    assert (done.stdout, done.returncode) == ("[1.0]\n", 0), done.stderr
    assert soon(lambda: not with_temporary_folder(tmp_path))
    assert soon(lambda: [path.name for path in tmp_path.iterdir()] == ["script.py"])


def test_forked_process_uses_its_own_workers(tmp_path):
    done = run_script(
        """
        score("print(3)")

        def children(pid):
            return {line for task in os.listdir(f"/proc/{pid}/task")
                    for line in open(f"/proc/{pid}/task/{task}/children").read().split()}

        def in_child():
            before = children(os.getpid())
            print("child", score("print(3)"), not before, len(children(os.getpid())) > 0, flush=True)

        child = multiprocessing.get_context("fork").Process(target=in_child)
        child.start()
        child.join()
        print("parent", score("print(4)"), child.exitcode)
        """,
        tmp_path,
    )

    assert done.stdout.splitlines() == ["child [1.0] True True", "parent [-0.3] 0"], done.stderr
    assert soon(lambda: not with_temporary_folder(tmp_path))
