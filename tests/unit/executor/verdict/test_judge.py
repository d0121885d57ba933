"""Test the judgement of reports."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest

from stepcoder_trl import Outcome, SandboxError
from stepcoder_trl.executor.verdict.judge import judge_reply, judge_stdout, judge_test, worker_lost


PROGRAM = "n = int(input())\nif n:\n    print(n)\n"
PASSED = {"output": "7\n", "cpu_s": 0.25}
FAILED = {"output": "8\n", "cpu_s": 0.5}
TIMEOUT = {"timeout": True, "cpu_s": 1.0}
CRASHED = {"error": "killed by SIGSEGV", "cpu_s": 0.1}
NOT_COMPILED = {"compile_error": "SyntaxError: invalid syntax", "line": 2, "cpu_s": 0.0}
NOT_RUN = {"timeout": True, "not_run": True, "cpu_s": 0.0}


def judge(*reports: Any, lines: list[int] | None = None) -> Any:
    judges = [partial(judge_stdout, "7", None, False)] * len(reports)
    return judge_reply(PROGRAM, judges, {"tests": list(reports), "lines": lines, "cpu_s": 1.5})


@pytest.mark.parametrize(
    ("reports", "outcome"),
    [
        ([PASSED, PASSED], "passed"),
        ([PASSED, FAILED], "failed"),
        ([FAILED, CRASHED, TIMEOUT], "runtime_error"),
        ([FAILED, TIMEOUT, CRASHED], "timeout"),
        ([NOT_COMPILED, NOT_COMPILED], "compile_error"),
    ],
)
def test_program_has_worst_outcome_of_its_tests(reports: list[Any], outcome: str) -> None:
    assert judge(*reports, lines=[1]).outcome.value == outcome


def test_tests_that_were_not_run_get_the_last_outcome() -> None:
    results = judge(PASSED, FAILED, NOT_RUN, lines=[1]).tests

    assert [result.outcome.value for result in results] == ["passed", "failed", "failed"]
    assert [result.message for result in results] == ["", "wrong standard output", "not run"]


@pytest.mark.parametrize(
    ("reports", "lines", "executed", "kept", "trace_lost"),
    [
        ([PASSED], [1, 2], {1, 2}, {1, 2}, False),
        ([PASSED], None, set(), {1, 2, 3}, True),
        ([PASSED], [1, 99], set(), {1, 2, 3}, True),
        ([NOT_COMPILED], None, set(), {1, 2, 3}, False),
        ([NOT_COMPILED], [1], set(), {1, 2, 3}, False),
    ],
    ids=["traced", "lost", "beyond the program", "not compiled", "not compiled but traced"],
)
def test_all_lines_are_kept_where_the_executed_ones_are_unknown(
    reports: list[Any], lines: list[int] | None, executed: set[int], kept: set[int], trace_lost: bool
) -> None:
    execution = judge(*reports, lines=lines)

    assert execution.executed_lines == executed
    assert execution.kept_lines == kept
    assert execution.trace_lost is trace_lost


@pytest.mark.parametrize("report", [None, [], {}, {"output": 7, "cpu_s": "x"}, {"base64": 7}])
def test_malformed_report_is_a_runtime_error(report: Any) -> None:
    result = judge_test(partial(judge_stdout, "7", None, False), report)

    assert result.outcome is Outcome.RUNTIME_ERROR
    assert result.message in ("no result", "the program sent garbage")


def test_output_is_kept_only_if_asked() -> None:
    kept = judge_test(partial(judge_stdout, "7", None, True), FAILED)
    dropped = judge_test(partial(judge_stdout, "7", None, False), FAILED)

    assert (kept.output, dropped.output) == ("8\n", None)


def test_infrastructure_failure_raises() -> None:
    with pytest.raises(SandboxError, match="disk full"):
        judge_reply(PROGRAM, [], {"infrastructure": "disk full"})


def test_lost_worker_keeps_all_lines() -> None:
    execution = worker_lost(PROGRAM, 2)

    assert [result.message for result in execution.tests] == ["worker lost"] * 2
    assert execution.kept_lines == {1, 2, 3}
    assert execution.trace_lost
