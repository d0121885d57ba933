"""Test what is prepared for the programs of one row."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from typing import Any

import pytest

from stepcoder_trl import CodeExecutor, ExecutorConfig, Outcome
from stepcoder_trl.executor.verdict import prepare
from stepcoder_trl.executor.verdict.limits import Limits
from stepcoder_trl.executor.verdict.prepare import Job, prepare_job
from stepcoder_trl.executor.verdict.schema import Tests
from stepcoder_trl.executor.wire.jobs import expanded, text_of, unpack


LIMITS = Limits(timeout_s=1.0)
CALL: dict[str, Any] = {"type": "call", "fn_name": "f", "inputs": [[1]], "outputs": [271828]}
STDIO: dict[str, Any] = {"type": "stdio", "inputs": ["1"], "outputs": ["271828"]}
ASSERT: dict[str, Any] = {"type": "assert", "setup": "", "asserts": ["assert f(1) == 271828"]}


def _unpacked(job: Job) -> tuple[Any, list[bytes]]:
    return unpack(io.BytesIO(job.message))


@pytest.mark.parametrize("program", ["print(1)", "", "x = '\ud800'", 'y = "\u00e4\n"'])
def test_message_holds_program_and_tests(program: str) -> None:
    header, (text, around, *tests) = _unpacked(prepare_job(program, Tests.parse(CALL), LIMITS))

    assert text_of(text) == program
    assert expanded(around)["fn_name"] == "f"
    assert list(map(json.loads, tests)) == [[1]]
    assert header["type"] == "call"


@pytest.mark.parametrize("tests", [CALL, STDIO, ASSERT], ids=["call", "stdio", "assert"])
def test_message_has_no_expected_value(tests: dict[str, Any]) -> None:
    job = prepare_job("", Tests.parse(tests), LIMITS)

    assert b"271828" not in job.message


def test_tests_are_prepared_once_for_all_programs() -> None:
    tests = Tests.parse(CALL)

    jobs = [prepare_job(f"x = {number}", tests, LIMITS) for number in range(3)]

    assert {id(job.tests) for job in jobs} == {id(jobs[0].tests)}
    assert len({job.message for job in jobs}) == 3


def test_tests_are_prepared_for_each_setting() -> None:
    tests = Tests.parse(CALL)

    short = prepare_job("", tests, LIMITS)
    long = prepare_job("", tests, replace(LIMITS, timeout_s=2.0))

    assert _unpacked(short)[0]["timeout_s"] == 1.0
    assert _unpacked(long)[0]["timeout_s"] == 2.0


@pytest.mark.sandbox
def test_executor_prepares_parsed_tests_once(monkeypatch: pytest.MonkeyPatch) -> None:
    prepared = []
    original = prepare._prepare_tests
    monkeypatch.setattr(prepare, "_prepare_tests", lambda *given: (prepared.append(1), original(*given))[1])
    tests = Tests.parse({**CALL, "outputs": [2]})

    with CodeExecutor(ExecutorConfig(num_workers=1)) as executor:
        results = executor.run_many(["def f(x): return x + 1", "def f(x): return x"], [tests, tests])

    assert [result.outcome for result in results] == [Outcome.PASSED, Outcome.FAILED]
    assert len(prepared) == 1
