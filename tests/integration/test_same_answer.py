"""Verdicts and lines do not depend on the number, order, age or user of the workers."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from stepcoder_trl.executor.selftest.corpus import load
from stepcoder_trl.executor.verdict.schema import Tests
from tests.fixed_verdicts import Sample, differences, new_executor, samples, verdicts
from tests.ordinary_user import interpreter_for_all
from tests.processes import ON_LINUX


pytestmark = [pytest.mark.sandbox, ON_LINUX]
NOBODY = 65534
# The servers of the copied interpreter find no coverage.py, and the plain recorder ends at a RecursionError.
OTHER_LINES = {"recursion_error_handled", "fifth_recursion_of_many_kinds"}


@pytest.fixture(scope="module")
def programs() -> list[Sample]:
    return samples()


@pytest.fixture(scope="module")
def expected(programs: list[Sample]) -> dict[str, list[Any]]:
    with new_executor(1) as executor:
        return verdicts(executor, programs)


def test_most_programs_pass(expected):
    passed = sum(outcome == "passed" for outcome, *_ in expected.values())

    assert passed > 0.8 * len(expected)


@pytest.mark.parametrize("seed", [1, 2])
def test_verdicts_do_not_depend_on_workers_or_order(programs, expected, seed):
    shuffled = programs[:]
    random.Random(seed).shuffle(shuffled)
    with new_executor(3) as executor:
        found = verdicts(executor, shuffled)

    assert differences(expected, found) == {}


def test_verdicts_are_the_same_after_hundreds_of_hostile_programs(programs, expected):
    quick = [case for case in load("hostile") if "timeout" not in case.expected and "flood" not in case.name]
    hostile = [(case.name, case.program, case.tests) for case in quick]
    with new_executor(1) as executor:
        for _ in range(max(1, 300 // len(hostile))):
            verdicts(executor, hostile)
        found = verdicts(executor, programs)

    assert differences(expected, found) == {}


def test_verdicts_are_the_same_with_a_process_per_test(programs, expected):
    stdio = [sample for sample in programs if Tests.parse(sample[2])["type"] == "stdio"]
    with new_executor(2, fresh_process_per_test=True) as executor:
        found = verdicts(executor, stdio)

    assert differences({name: expected[name] for name, _, _ in stdio}, found) == {}


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """Folder that every user may use."""
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o777)
        yield Path(folder)


def as_nobody() -> None:
    os.setgroups([])
    os.setgid(NOBODY)
    os.setuid(NOBODY)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user; this run is an ordinary user's")
def test_verdicts_are_the_same_for_ordinary_user(programs, expected, open_folder):
    data = os.environ.get("STEPCODER_DATA")
    environment = {"PATH": "/usr/bin:/bin", "TMPDIR": str(open_folder), "PYTHONDONTWRITEBYTECODE": "1"}
    if data:
        shutil.copytree(data, open_folder / "data")
        environment["STEPCODER_DATA"] = str(open_folder / "data")
    python = interpreter_for_all(open_folder)
    environment["LD_LIBRARY_PATH"] = str(Path(python).parents[1] / "lib")

    done = subprocess.run(
        [python, "-m", "tests.fixed_verdicts", str(open_folder / "verdicts.json")],
        cwd=open_folder,
        env=environment,
        preexec_fn=as_nobody,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    assert (open_folder / "verdicts.json").stat().st_uid == NOBODY
    found = json.loads((open_folder / "verdicts.json").read_text(encoding="utf-8"))
    without_numpy = {name for name, program, _ in programs if "numpy" not in program}
    comparable = {name: expected[name] for name in without_numpy - OTHER_LINES}
    assert differences(comparable, found) == {}
    for name in OTHER_LINES:
        assert found[name][:2] == expected[name][:2]
