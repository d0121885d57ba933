"""Run every program of the corpus and check its outcome and leftovers."""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from stepcoder_trl import CodeExecutor, ExecutorConfig, Outcome
from stepcoder_trl.executor.backend import HARMLESS_PROGRAM, HARMLESS_TESTS
from stepcoder_trl.executor.selftest import Case, leftovers, load
from stepcoder_trl.executor.selftest.bait import bait
from stepcoder_trl.executor.selftest.checks import check_alone, check_execution
from stepcoder_trl.executor.selftest.corpus import PROGRAMS
from tests.processes import ON_LINUX


pytestmark = [pytest.mark.sandbox, ON_LINUX]

HOSTILE, CORRECT = load("hostile"), load("correct")
NO_TARGET = "found nothing to attack"  # error of programs that search the harness, if their search fails


def named(cases: list[Case], alone: bool) -> list[Any]:
    """Return the cases that need a worker of their own, or the others, as parameters with names."""
    return [pytest.param(case, id=case.name) for case in cases if case.requirements.needs_own_worker == alone]


@pytest.fixture(scope="module")
def scratch_root() -> Iterator[Path]:
    """Folder that holds the scratch folders of this module's executors."""
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory(prefix="corpus-") as folder:
        patch.setattr(tempfile, "tempdir", folder)
        yield Path(folder)


@pytest.fixture(scope="module", autouse=True)
def untouched() -> Iterator[None]:
    """Fail if a program touches a message queue or a semaphore of this process."""
    with bait() as made:
        yield
        assert list(made.touched()) == []


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


@pytest.mark.parametrize("case", named([*HOSTILE, *CORRECT], alone=False))
def test_program_is_judged_right_and_leaves_nothing(case, executor, nothing_left):
    execution = executor.run(case.program, case.tests)

    assert list(check_execution(case, execution)) == [], execution
    assert not any(NO_TARGET in test.message for test in execution.tests), "the program did not attack"


@pytest.mark.parametrize("case", named([*HOSTILE, *CORRECT], alone=True))
def test_program_on_a_worker_of_its_own_is_judged_right_and_leaves_nothing(case, executor, nothing_left, scratch_root):
    assert check_alone(case, executor, scratch_root) == []


def test_correct_programs_pass_in_parallel():
    cases = [case for case in CORRECT if not case.requirements.needs_own_worker]
    with CodeExecutor(ExecutorConfig(num_workers=2)) as executor:
        executions = executor.run_many([case.program for case in cases], [case.tests for case in cases])

    failed = [case.name for case, done in zip(cases, executions, strict=True) if done.outcome is not Outcome.PASSED]
    assert failed == []


def test_hostile_programs_do_not_affect_parallel_correct_programs():
    hostile, correct = (
        [case for case in cases if not case.requirements.needs_own_worker and "timeout" not in case.expected]
        for cases in (HOSTILE, CORRECT)
    )
    cases = [case for pair in zip(hostile, itertools.cycle(correct), strict=False) for case in pair]
    with CodeExecutor(ExecutorConfig(num_workers=2)) as executor:
        executions = executor.run_many([case.program for case in cases], [case.tests for case in cases])

    wrong = [case.name for case, done in zip(cases, executions, strict=True) if done.outcome not in case.expected]
    assert wrong == []


def _may_pass(requirements):
    """Whether a hostile program may pass: by chance, without trust, or because it lies about its lines alone."""
    return requirements.runs > 1 or requirements.untrusted or requirements.ran or requirements.not_run


def test_corpus_is_large_and_no_hostile_program_may_pass():
    assert len(HOSTILE) >= 450
    assert len(CORRECT) >= 160
    assert all("passed" not in case.expected for case in HOSTILE if not _may_pass(case.requirements))
    assert all(case.expected == {"passed"} for case in CORRECT)
    assert all(case.expected <= {outcome.value for outcome in Outcome} for case in HOSTILE)


def test_corpus_files_are_text_files():
    assert {path.suffix for path in PROGRAMS.rglob("*") if path.is_file()} == {".txt"}
