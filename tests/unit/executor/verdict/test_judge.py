"""Test the judgement of reports."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest

from stepcoder_trl import Outcome, SandboxError
from stepcoder_trl.executor.verdict.judge import (
    Untrusted,
    judge_examined,
    judge_reply,
    judge_stdout,
    judge_test,
    worker_lost,
)
from stepcoder_trl.executor.verdict.limits import Limits
from stepcoder_trl.executor.verdict.prepare import prepare_job
from stepcoder_trl.executor.verdict.schema import Tests


STDIO = {"type": "stdio", "inputs": [""], "outputs": ["1\n2\n"]}
CALL = {"type": "call", "fn_name": "f", "inputs": [[1]], "outputs": [{"a": [1]}]}
ASSERT = {"type": "assert", "setup": "", "asserts": ["assert f(1) == 5, 'five'"]}
CHECK = {"type": "assert", "setup": "def check(c):\n    assert c(1)\n", "asserts": ["check(f)"]}
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


@pytest.mark.parametrize(
    ("line", "kept"), [(2, 2), (4, 4), (0, None), (-5, None), (10**400, None), (5, None), (True, None), (2.0, None)]
)
def test_line_of_an_error_is_one_of_the_program(line: Any, kept: int | None) -> None:
    assert judge({**NOT_COMPILED, "line": line}).tests[0].error_line == kept


def test_tests_that_were_not_run_get_the_last_outcome() -> None:
    results = judge(PASSED, FAILED, NOT_RUN, lines=[1]).tests

    assert [result.outcome.value for result in results] == ["passed", "failed", "failed"]
    wrong = "wrong standard output: '8', but expected '7'"
    assert [result.message for result in results] == ["", wrong, "not run"]


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


@pytest.mark.parametrize(
    ("tests", "report", "message"),
    [
        (STDIO, {"output": "1\n3\n"}, "wrong standard output: '3', but expected '2', in line 2"),
        (STDIO, {"output": "1\n"}, "wrong standard output: nothing, but expected '2', in line 2"),
        (STDIO, {"output": ""}, "wrong standard output: '', but expected '1', in line 1"),
        (STDIO, {"output": "1\n2\n3"}, "wrong standard output: '3', but expected nothing, in line 3"),
        (CALL, {"value": {"t": ["a"]}}, "wrong value returned: ('a',), but expected {'a': [1]}"),
        (CALL, {"value": {"u": "Node"}}, "wrong value returned: <value of type Node>, but expected {'a': [1]}"),
        (CALL, {"value": {"i": hex(10**5000)}}, "wrong value returned: an int of 16610 bits, but expected {'a': [1]}"),
        (ASSERT, {"value": 4}, "assertion does not hold: 4 in assert f(1) == 5, 'five'"),
    ],
)
def test_message_of_a_wrong_answer_says_what_is_and_what_should_be(tests: Any, report: Any, message: str) -> None:
    (one,) = prepare_job("", Tests.parse(tests), Limits()).tests.judges

    result = judge_test(one, {**report, "cpu_s": 0.0})

    assert (result.outcome, result.message) == (Outcome.FAILED, message)


HOSTILE = "\x1b]0;owned\x07\x1b[2Jpassed\nline two\r\u202e\u2028\x85\ud800\0" + "x\t" * 10**6


@pytest.mark.parametrize(
    ("tests", "report"),
    [
        (STDIO, {"error": HOSTILE}),
        (STDIO, {"memory": HOSTILE}),
        (STDIO, {"compile_error": HOSTILE}),
        (STDIO, {"output": HOSTILE}),
        (CALL, {"value": HOSTILE}),
        (CALL, {"value": [[HOSTILE] * 100] * 100}),
        (CALL, {"value": {"d": [{"t": [HOSTILE, HOSTILE]}]}}),
        (CALL, {"value": {"u": HOSTILE}}),
        (ASSERT, {"value": HOSTILE}),
        (ASSERT, {"value": {"q": [{"i": hex(10**5000)}, 7]}}),
        (CHECK, {"assertion_error": HOSTILE}),
    ],
)
def test_message_is_one_line_of_printable_characters(tests: Any, report: Any) -> None:
    (one,) = prepare_job("", Tests.parse(tests), Limits()).tests.judges

    message = judge_test(one, {**report, "cpu_s": 0.0}).message

    assert 0 < len(message) <= 300
    assert message.isprintable()


@pytest.mark.parametrize(("marked", "trusted"), [({}, True), ({"trusted": False}, False)])
@pytest.mark.parametrize("report", [{"output": "1\n2\n", "cpu_s": 0.0}, {"timeout": True}, {"error": "x"}, None, {}])
def test_trust_does_not_depend_on_the_answer(report: Any, marked: dict[str, bool], trusted: bool) -> None:
    (one,) = prepare_job("", Tests.parse({**STDIO, **marked}), Limits()).tests.judges

    assert judge_test(one, report).trusted is trusted


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
    execution = worker_lost(PROGRAM, [judge_examined, Untrusted(judge_examined)])

    assert [result.message for result in execution.tests] == ["worker lost"] * 2
    assert [result.trusted for result in execution.tests] == [True, False]
    assert execution.kept_lines == {1, 2, 3}
    assert execution.trace_lost
