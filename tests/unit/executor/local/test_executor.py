"""Test the executor: order of results, threads, processes, folders and memory."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

import stepcoder_trl
from stepcoder_trl import BadInputError, CodeExecutor, ExecutorConfig, Outcome, SandboxError
from stepcoder_trl.executor.selftest.leftovers import children_of_ours
from tests.processes import soon, with_temporary_folder
from tests.unit.executor.samples import DOUBLE, outcomes


pytestmark = pytest.mark.sandbox
PROGRAMS = Path(__file__).parent / "programs"
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(stepcoder_trl.__file__).parents[1])}


def test_results_are_in_the_order_of_the_programs(fast_executor):
    programs = [f"import time\ntime.sleep({(i % 3) / 50})\nprint({i})" for i in range(30)]
    tests = [{"type": "stdio", "inputs": [""], "outputs": [str(i)]} for i in range(30)]

    assert {e.outcome for e in fast_executor.run_many(programs, tests)} == {Outcome.PASSED}


def test_setting_as_an_argument_is_one_clear_sentence():
    with pytest.raises(BadInputError) as error:
        CodeExecutor(workers=2)

    fix = "Write `CodeExecutor(ExecutorConfig(num_workers=2))`."
    assert str(error.value) == f"`workers` is no argument of `CodeExecutor`. {fix}"


def test_wrong_types_are_named(fast_executor):
    with pytest.raises(BadInputError, match="`program` is None, but must be a string"):
        fast_executor.run(None, {"type": "stdio", "inputs": [""], "outputs": [""]})
    with pytest.raises(BadInputError, match=r"`config` is 3 .*but must be an `ExecutorConfig`"):
        CodeExecutor(3)


def test_folder_holds_the_program_alone(fast_executor):
    tests = {"type": "stdio", "inputs": [""], "outputs": ["['solution.py']"]}
    fast_executor.run_many(
        ["import os\nos.makedirs('a/b')\nopen('a/b/c', 'w').write('x')\nos.chmod('a', 0)"] * 2, [tests] * 2
    )

    execution = fast_executor.run("import os\nprint(os.listdir('.'))", tests)

    assert execution.outcome is Outcome.PASSED


def test_environment_is_not_passed_on(monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "secret")
    tests = {"type": "stdio", "inputs": [""], "outputs": ["None"]}
    with CodeExecutor(ExecutorConfig(num_workers=1)) as fresh:
        assert fresh.run("import os\nprint(os.environ.get('HF_TOKEN'))", tests).outcome is Outcome.PASSED


def test_killed_servers_lose_no_result():
    programs = [f"import time\ntime.sleep(0.02)\nprint({i})" for i in range(60)]
    tests = [{"type": "stdio", "inputs": [""], "outputs": [str(i)]} for i in range(60)]
    before = children_of_ours()
    with CodeExecutor(ExecutorConfig(num_workers=2)) as executor:
        futures = [executor.submit(p, t) for p, t in zip(programs, tests, strict=True)]
        futures[10].result()
        for pid in children_of_ours() - before:
            os.kill(pid, signal.SIGKILL)
        results = [future.result() for future in futures]

    assert [r.outcome for r in results] == [Outcome.PASSED] * 60


def test_closing_twice_ends_every_process():
    before = children_of_ours()
    executor = CodeExecutor(ExecutorConfig(num_workers=2))
    executor.run("print(1)", {"type": "stdio", "inputs": [""], "outputs": ["1"]})
    executor.close()
    executor.close()

    assert children_of_ours() == before
    with pytest.raises(SandboxError, match="closed"):
        executor.run("print(1)", DOUBLE)


def test_server_that_cannot_start_raises(monkeypatch):
    monkeypatch.setattr("stepcoder_trl.executor.local.server_process._bootstrap", lambda *_: "raise SystemExit")
    with CodeExecutor(ExecutorConfig(num_workers=1)) as executor:
        (result,) = executor.run_many(["print(1)"], [DOUBLE], on_error="return")
        with pytest.raises(SandboxError):
            executor.run("print(1)", DOUBLE)

    assert isinstance(result, SandboxError)


def test_threads_share_an_executor(fast_executor):
    results = []
    threads = [
        threading.Thread(target=lambda: results.append(fast_executor.run("print(2 * int(input()))", DOUBLE).outcome))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert results == [Outcome.PASSED] * 8


def test_killed_trainer_leaves_no_process_or_folder(tmp_path):
    trainer = subprocess.Popen(
        [sys.executable, PROGRAMS / "killed_trainer.py"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**ENVIRONMENT, "TMPDIR": str(tmp_path)},
    )
    assert trainer.stdout.readline() == b"running\n"
    assert any(tmp_path.iterdir())

    trainer.kill()
    trainer.communicate()

    assert soon(lambda: not with_temporary_folder(tmp_path))
    assert soon(lambda: list(tmp_path.iterdir()) == [])


def test_memory_is_released_after_each_program(fast_executor):
    def resident():
        pages = [int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in (os.getpid(), *children_of_ours())]
        return sum(pages) * os.sysconf("SC_PAGE_SIZE")

    fast_executor.run_many(["print('x' * 10**6)"] * 20, [DOUBLE] * 20)
    before = resident()
    fast_executor.run_many(["print('x' * 10**6)"] * 200, [DOUBLE] * 200)

    assert resident() - before < 30 * 2**20


@pytest.mark.skipif(sys.platform != "linux", reason="peak memory is read from /proc")
def test_binary_output_does_not_fill_memory():
    done = subprocess.run(
        [sys.executable, PROGRAMS / "binary_output.py"], env=ENVIRONMENT, capture_output=True, text=True, check=True
    )

    outcome, peak_mib = done.stdout.split()
    assert outcome == "failed"
    assert int(peak_mib) < 160  # escaped in JSON, the 16 MiB of output took more than 210 MiB


def test_programs_are_not_traced_without_need():
    program = "import sys\nprint(sys.gettrace() is None)\nif False:\n    print(1)\n"
    tests = {"type": "stdio", "inputs": ["", ""], "outputs": ["True", "True"]}
    with CodeExecutor(ExecutorConfig(num_workers=1, trace=False)) as executor:
        execution = executor.run(program, tests)
        crashed = executor.run("import os\nos.abort()\n", tests)

    assert execution.outcome is Outcome.PASSED
    assert execution.executed_lines == frozenset()
    assert execution.kept_lines == {1, 2, 3, 4}
    assert not execution.trace_lost
    assert crashed.outcome is Outcome.RUNTIME_ERROR
    assert not crashed.trace_lost


ITERABLE = """
class f:
    def __init__(self, n): self.n = n
    def __iter__(self): return iter(range(self.n))
"""


@pytest.mark.parametrize(
    "program",
    ["def f(n):\n    yield from range(n)\n", "def f(n): return map(int, range(n))\n", ITERABLE],
    ids=["generator", "map", "object"],
)
def test_elements_of_an_object_are_searched(fast_executor, program):
    tests = {
        "type": "assert",
        "setup": "",
        "asserts": ["assert 2 in f(3)", "assert 3 not in f(3)", "assert 3 in f(3)"],
    }

    execution = fast_executor.run(program, tests)

    assert (outcomes(execution), execution.trusted) == (["passed", "passed", "failed"], True)
