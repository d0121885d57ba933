"""Test what the files of the corpus can say, and that the checks find what is wrong."""

from __future__ import annotations

import ctypes
import json
import sys
import zipfile
from concurrent.futures import Future

import pytest

from stepcoder_trl import Execution, Outcome
from stepcoder_trl.executor.selftest import load
from stepcoder_trl.executor.selftest.bait import bait
from stepcoder_trl.executor.selftest.checks import check_companions, check_execution, check_rate
from stepcoder_trl.executor.selftest.corpus import PROGRAMS
from stepcoder_trl.executor.selftest.growth import MEASURES, Peaks
from stepcoder_trl.types import TestResult
from tests.processes import soon


ON_LINUX = pytest.mark.skipif(sys.platform != "linux", reason="it reads files of Linux")
TESTS = {"type": "stdio", "inputs": [""], "outputs": ["1"]}


def case(tmp_path, program="x = 1\n", **header):
    """Return the only hostile case of a folder that also has a companion and a snippet."""
    for kind in ("hostile", "companions", "snippets"):
        (tmp_path / kind).mkdir()
    (tmp_path / "snippets" / "help.txt").write_text("import os\n")
    (tmp_path / "companions" / "other.txt").write_text(f"# tests: {json.dumps(TESTS)}\n# expect: passed\n\nprint(1)\n")
    lines = {"tests": json.dumps(TESTS), "expect": "failed", **header}
    text = "".join(f"# {key}: {value}\n" for key, value in lines.items()) + "\n" + program
    (tmp_path / "hostile" / "one.txt").write_text(text)
    (found,) = load("hostile", tmp_path)
    return found


def execution(outcome=Outcome.FAILED, message="", lines=(), trace_lost=False):
    result = TestResult(outcome, 0.0, message)
    return Execution(outcome, (result,), frozenset(lines), frozenset(lines), 0.0, True, trace_lost=trace_lost)


class Backend:
    """Backend that gives the same execution to every program, and remembers the programs."""

    def __init__(self, answer):
        self.answer, self.programs = answer, []

    def submit(self, program, tests):
        self.programs.append(program)
        done: Future[Execution] = Future()
        done.set_result(self.answer)
        return done


def test_file_names_what_must_hold(tmp_path):
    one = case(
        tmp_path,
        first="other other",
        then="other",
        config='{"stop_on_first_failure": true}',
        growth_mib='{"disk": 600}',
        rate="[100, 0.5]",
        message_not="was changed",
        untrusted="true",
    )
    needs = one.requirements

    assert [companion.name for companion in (*needs.first, *needs.then)] == ["other"] * 3
    assert (needs.config, needs.growth_mib) == ({"stop_on_first_failure": True}, {"disk": 600})
    assert (needs.runs, needs.highest_rate, needs.message_not) == (100, 0.5, "was changed")
    assert needs.untrusted
    assert needs.needs_own_worker


def test_file_without_requirements_needs_no_own_worker(tmp_path):
    assert not case(tmp_path).requirements.needs_own_worker


def test_snippet_comes_before_the_program(tmp_path):
    one = case(tmp_path, "print(os)\n", snippet="help")

    assert one.program.endswith("\n\nimport os\n\n\nprint(os)\n")
    assert one.program.startswith("# tests\n")


def test_marked_lines_are_numbered_in_the_whole_program(tmp_path):
    one = case(tmp_path, "a = 1  # ran\nif a:\n    b = 2  # not run\n", snippet="help")

    lines = one.program.split("\n")
    assert [lines[number - 1] for number in one.requirements.ran] == ["a = 1  # ran"]
    assert [lines[number - 1] for number in one.requirements.not_run] == ["    b = 2  # not run"]


@pytest.mark.parametrize(
    ("header", "found", "what"),
    [
        ({}, execution(Outcome.PASSED), "passed"),
        ({}, execution(message="a\nb"), "another message"),
        ({}, execution(message="\x1b[2J"), "another message"),
        ({}, execution(message="x" * 301), "another message"),
        ({"message_not": "was changed"}, execution(message="the table was changed"), "such a message"),
        ({"untrusted": "true"}, execution(), "a trusted one"),
        ({}, execution(lines=[1000]), "lines [1000]"),
        ({}, execution(message="worker lost"), "worker lost"),
    ],
)
def test_wrong_results_are_found(tmp_path, header, found, what):
    assert [finding.found for finding in check_execution(case(tmp_path, **header), found)] == [what]


def test_right_result_is_no_finding(tmp_path):
    assert list(check_execution(case(tmp_path), execution(message="wrong output: 'a'"))) == []


@pytest.mark.parametrize(("lines", "count"), [([4], 0), ([], 1), ([4, 6], 1), ([6], 2)])
def test_lines_are_checked_unless_the_trace_is_lost(tmp_path, lines, count):
    one = case(tmp_path, "a = 1  # ran\nif not a:\n    b = 2  # not run\n")

    assert len(list(check_execution(one, execution(lines=lines)))) == count
    assert list(check_execution(one, execution(lines=lines, trace_lost=True))) == []


def test_companions_must_have_their_outcomes(tmp_path):
    companions = case(tmp_path, first="other").requirements.first

    assert [one.found for one in check_companions(companions, Backend(execution()))] == ["failed"]
    assert check_companions(companions, Backend(execution(Outcome.PASSED))) == []


def test_rate_counts_passes(tmp_path):
    one = case(tmp_path, rate="[10, 0.5]", expect="failed|passed")
    backend = Backend(execution(Outcome.PASSED))

    assert [finding.found for finding in check_rate(one, backend)] == ["10 passed"]
    assert len(backend.programs) == 10
    assert check_rate(one, Backend(execution())) == []


@ON_LINUX
def test_growth_is_measured():
    with Peaks(dict.fromkeys(MEASURES, 0.0)) as peaks:
        block = b"x" * 2**27
        assert soon(lambda: peaks.mib["trainer"] > 100)

    assert len(block) == 2**27
    assert set(peaks.mib) == set(MEASURES)


@ON_LINUX
def test_bait_tells_who_touched_it():
    with bait() as made:
        if min(made.semaphore, made.queue) < 0:
            pytest.skip("this machine has no System V objects")
        assert list(made.touched()) == []
        take = b"\0\0\xff\xff\0\x08"
        assert ctypes.CDLL(None).semop(made.semaphore, take, 1) == 0

        assert len(list(made.touched())) == 2  # the look itself has read the message


def test_archive_gives_the_same_cases_as_its_folder(tmp_path):
    files = [path for path in sorted(PROGRAMS.glob("*/*.txt")) if path.parent.name != "correct"]
    with zipfile.ZipFile(tmp_path / "programs.zip", "w") as archive:
        for path in files:
            archive.write(path, path.relative_to(PROGRAMS))

    assert load("hostile", tmp_path / "programs.zip") == load("hostile")


def test_all_files_of_the_corpus_are_used():
    cases = [*load("hostile"), *load("correct")]
    companions = {one.name for case in cases for one in (*case.requirements.first, *case.requirements.then)}
    texts = [path.read_bytes().decode() for kind in ("hostile", "correct") for path in (PROGRAMS / kind).glob("*.txt")]

    assert {path.stem for path in (PROGRAMS / "companions").glob("*.txt")} == companions
    for snippet in (PROGRAMS / "snippets").glob("*.txt"):
        assert any(f"# snippet: {snippet.stem}\n" in text for text in texts)
