"""Every program of the corpus through a real executor: the right outcome, and nothing left behind."""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from stepcoder_trl import CodeExecutor, ExecutorConfig, Outcome
from tests.adversarial.corpus import Case, load


pytestmark = [
    pytest.mark.sandbox,
    pytest.mark.skipif(sys.platform != "linux", reason="the fork server is made for Linux"),
]

HOSTILE, CORRECT = load("hostile"), load("correct")
CANARY = "def double(n):\n    return n * 2\n"
CANARY_TESTS = {"type": "call", "fn_name": "double", "inputs": [[21]], "outputs": [42]}
DEADLINE_S = 10


@pytest.fixture(scope="module")
def scratch_root() -> Iterator[Path]:
    """Folder in which this module's executors make their scratch folders."""
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory(prefix="corpus-") as folder:
        patch.setattr(tempfile, "tempdir", folder)
        yield Path(folder)


@pytest.fixture(scope="module")
def executor(scratch_root: Path) -> Iterator[CodeExecutor]:
    with CodeExecutor(ExecutorConfig(num_workers=1)) as executor:
        yield executor
    assert _descendants() == []
    assert list(scratch_root.iterdir()) == []


@pytest.fixture
def nothing_left(executor: CodeExecutor, scratch_root: Path) -> Iterator[None]:
    """Fail if the program outlives its verdict, leaves files, or takes its fork server along."""
    assert executor.run(CANARY, CANARY_TESTS).outcome is Outcome.PASSED
    workers = _descendants()
    yield
    assert _soon(lambda: _descendants() == workers), (workers, _descendants())
    assert _soon(lambda: not any(scratch_root.glob("*/*"))), list(scratch_root.glob("*/*"))
    assert not any(Path("/tmp").glob("planted*"))
    assert executor.run(CANARY, CANARY_TESTS).outcome is Outcome.PASSED


def _descendants(pid: int | None = None) -> list[int]:
    """Process ids of all descendants, zombies included."""
    found: list[int] = []
    for children in Path(f"/proc/{pid or os.getpid()}/task").glob("*/children"):
        try:
            direct = [int(child) for child in children.read_text().split()]
        except (FileNotFoundError, ProcessLookupError):  # the thread has ended
            continue
        for child in direct:
            found += [child, *_descendants(child)]
    return sorted(found)


def _soon(condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def _name(case: Case) -> str:
    return case.name


@pytest.mark.parametrize("case", HOSTILE, ids=_name)
def test_hostile_program_gets_its_outcome_and_leaves_nothing(case, executor, nothing_left):
    execution = executor.run(case.program, case.tests)

    assert execution.outcome.value in case.expected, execution
    assert "worker lost" not in {test.message for test in execution.tests}
    line_count = case.program.count("\n") + case.program.count("\r") + 1
    assert all(1 <= line <= line_count for line in execution.executed_lines | execution.kept_lines)


@pytest.mark.parametrize("case", CORRECT, ids=_name)
def test_correct_program_passes(case, executor, nothing_left):
    execution = executor.run(case.program, case.tests)

    assert execution.outcome is Outcome.PASSED, execution


def test_correct_programs_pass_side_by_side():
    with CodeExecutor(ExecutorConfig(num_workers=2)) as executor:
        executions = executor.run_many([case.program for case in CORRECT], [case.tests for case in CORRECT])

    failed = [case.name for case, done in zip(CORRECT, executions, strict=True) if done.outcome is not Outcome.PASSED]
    assert failed == []


def test_hostile_programs_harm_no_correct_ones_beside_them():
    quick = [case for case in HOSTILE if "timeout" not in case.expected]
    cases = [case for pair in zip(quick, CORRECT * (len(quick) // len(CORRECT) + 1), strict=False) for case in pair]
    with CodeExecutor(ExecutorConfig(num_workers=2)) as executor:
        executions = executor.run_many([case.program for case in cases], [case.tests for case in cases])

    wrong = [case.name for case, done in zip(cases, executions, strict=True) if done.outcome not in case.expected]
    assert wrong == []


def test_corpus_is_large_and_its_hostile_half_never_expects_a_pass():
    assert len(HOSTILE) >= 80
    assert len(CORRECT) >= 40
    assert all("passed" not in case.expected for case in HOSTILE)
    assert all(case.expected == {"passed"} for case in CORRECT)
    assert all(case.expected <= {outcome.value for outcome in Outcome} for case in HOSTILE)
