"""Run every program of the corpus and check its outcome and leftovers."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from operator import attrgetter
from pathlib import Path

import pytest

from stepcoder_trl import CodeExecutor, ExecutorConfig, Outcome
from stepcoder_trl.executor.backend import HARMLESS_PROGRAM, HARMLESS_TESTS
from stepcoder_trl.executor.selftest import leftovers, load
from stepcoder_trl.executor.selftest.corpus import PROGRAMS
from tests.processes import ON_LINUX


pytestmark = [pytest.mark.sandbox, ON_LINUX]

HOSTILE, CORRECT = load("hostile"), load("correct")


@pytest.fixture(scope="module")
def scratch_root() -> Iterator[Path]:
    """Folder that holds the scratch folders of this module's executors."""
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory(prefix="corpus-") as folder:
        patch.setattr(tempfile, "tempdir", folder)
        yield Path(folder)


@pytest.fixture(scope="module")
def executor(scratch_root: Path) -> Iterator[CodeExecutor]:
    before = set(leftovers.descendants())  # servers of executors that other tests left to the garbage collector
    with CodeExecutor(ExecutorConfig(num_workers=1)) as executor:
        yield executor
    assert set(leftovers.descendants()) <= before
    assert list(scratch_root.iterdir()) == []


@pytest.fixture
def nothing_left(executor: CodeExecutor, scratch_root: Path) -> Iterator[None]:
    """Fail if the program keeps running, leaves files, or kills its fork server."""
    census = leftovers.Census(scratch_root)
    assert executor.run(HARMLESS_PROGRAM, HARMLESS_TESTS).outcome is Outcome.PASSED
    servers = leftovers.children_of_ours()
    yield
    assert census.left_behind(servers) == []
    assert executor.run(HARMLESS_PROGRAM, HARMLESS_TESTS).outcome is Outcome.PASSED


@pytest.mark.parametrize("case", HOSTILE, ids=attrgetter("name"))
def test_hostile_program_gets_expected_outcome_and_leaves_nothing(case, executor, nothing_left):
    execution = executor.run(case.program, case.tests)

    assert execution.outcome.value in case.expected, execution
    assert "worker lost" not in {test.message for test in execution.tests}
    line_count = case.program.count("\n") + case.program.count("\r") + 1
    assert all(1 <= line <= line_count for line in execution.executed_lines | execution.kept_lines)


@pytest.mark.parametrize("case", CORRECT, ids=attrgetter("name"))
def test_correct_program_passes(case, executor, nothing_left):
    execution = executor.run(case.program, case.tests)

    assert execution.outcome is Outcome.PASSED, execution


def test_correct_programs_pass_in_parallel():
    with CodeExecutor(ExecutorConfig(num_workers=2)) as executor:
        executions = executor.run_many([case.program for case in CORRECT], [case.tests for case in CORRECT])

    failed = [case.name for case, done in zip(CORRECT, executions, strict=True) if done.outcome is not Outcome.PASSED]
    assert failed == []


def test_hostile_programs_do_not_affect_parallel_correct_programs():
    quick = [case for case in HOSTILE if "timeout" not in case.expected]
    cases = [case for pair in zip(quick, CORRECT * (len(quick) // len(CORRECT) + 1), strict=False) for case in pair]
    with CodeExecutor(ExecutorConfig(num_workers=2)) as executor:
        executions = executor.run_many([case.program for case in cases], [case.tests for case in cases])

    wrong = [case.name for case, done in zip(cases, executions, strict=True) if done.outcome not in case.expected]
    assert wrong == []


def test_corpus_is_large_and_no_hostile_program_may_pass():
    assert len(HOSTILE) >= 80
    assert len(CORRECT) >= 40
    assert all("passed" not in case.expected for case in HOSTILE)
    assert all(case.expected == {"passed"} for case in CORRECT)
    assert all(case.expected <= {outcome.value for outcome in Outcome} for case in HOSTILE)


def test_corpus_files_are_text_files():
    assert {path.suffix for path in PROGRAMS.rglob("*") if path.is_file()} == {".txt"}
