"""
Judge the reports of a fork server: one result per test, and the execution of the program.

A report comes from a process that ran untrusted code. Its form is checked, its values are compared with the expected
ones here, and anything wrong with it counts against the program.
"""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from stepcoder_trl.errors import SandboxError
from stepcoder_trl.executor.verdict.asserts import Split
from stepcoder_trl.executor.verdict.compare import stdout_matches, values_match
from stepcoder_trl.executor.verdict.lines_of_tests import NOT_RUN, with_lines_of_tests
from stepcoder_trl.executor.verdict.plausible import believed_lines
from stepcoder_trl.executor.verdict.remembering import Sharing
from stepcoder_trl.executor.verdict.shorten import brief, difference
from stepcoder_trl.executor.wire.codec import decode
from stepcoder_trl.executor.wire.equality import Tolerance
from stepcoder_trl.executor.wire.messages import Infrastructure, Lines, Reply, Result
from stepcoder_trl.executor.wire.text import one_line
from stepcoder_trl.masking import executed_lines, kept_lines
from stepcoder_trl.parsing import line_spans
from stepcoder_trl.types import Execution, Outcome, TestResult


Judge = Callable[[Result], TestResult]  # from the report on a test that ran to its end

_STATEMENT_LENGTH = 150
_SEVERITY = {Outcome.PASSED: 0, Outcome.FAILED: 1, Outcome.COMPILE_ERROR: 3}
_OTHER_SEVERITY = 2
_EARLY_ENDS: dict[Literal["compile_error", "timeout", "memory", "error"], Outcome] = {
    "compile_error": Outcome.COMPILE_ERROR,
    "timeout": Outcome.TIMEOUT,
    "memory": Outcome.MEMORY_EXCEEDED,
    "error": Outcome.RUNTIME_ERROR,
}


def judge_stdout(expected: str, float_tolerance: float | None, keep_output: bool, report: Result) -> TestResult:
    """Judge a stdio test by what it printed. Bytes that are not UTF-8 are escaped."""
    printed = _printed(report)
    is_right = stdout_matches(printed, expected, float_tolerance)
    failure = "" if is_right else f"wrong standard output: {difference(printed, expected)}"
    return _result(report, is_right, failure, printed if keep_output else None)


def _printed(report: Result) -> str:
    """Return what a program printed. Bytes that are not UTF-8 are escaped."""
    if "base64" in report:
        return b64decode(report["base64"]).decode("utf-8", "surrogateescape")
    return str(report["output"])


def judge_printed(report: Result) -> TestResult:
    """Keep what a program printed for a checker. It passes until then."""
    return _result(report, True, "", _printed(report))


def judge_returned(expected: Any, tolerance: Tolerance, keep_output: bool, report: Result) -> TestResult:
    """Judge a call test by the value that it returned."""
    value = decode(report["value"])
    is_right = values_match(value, expected, tolerance)
    failure = "" if is_right else f"wrong value returned: {brief(value)}, but expected {brief(expected)}"
    return _result(report, is_right, failure, value if keep_output else None)


def judge_split_assert(split: Split, statement: str, report: Result) -> TestResult:
    """Judge an assert whose expression ran with the program by its comparison, which runs here."""
    value = decode(report["value"])
    try:
        holds = split.holds(value)
    except Exception as error:  # the statement itself would have raised it, e.g. for `None < 1`
        return TestResult(Outcome.RUNTIME_ERROR, _cpu_s(report), f"{type(error).__name__} in the comparison")
    failure = "" if holds else f"assertion does not hold: {brief(value)} in {statement[:_STATEMENT_LENGTH]}"
    return _result(report, holds, failure)


def judge_examined(report: Result, statement: str = "", setup: str = "") -> TestResult:
    """Judge a test that ran as a whole by the verdict of the process that ran it. A failure names the assertion."""
    if report.get("passed") is True:
        return _result(report, True, "")
    lines, number = setup.split("\n"), report.get("line")
    asserted = lines[number - 1].strip() if type(number) is int and 1 <= number <= len(lines) else statement
    place = f" in {asserted[:_STATEMENT_LENGTH]}" if asserted else ""
    return _result(report, False, f"{report['assertion_error']}{place}")


@dataclass(frozen=True)
class Untrusted:
    """Judge of a test that the program may have forged, because the test or its setup runs with the program."""

    judge: Judge

    def __call__(self, report: Result) -> TestResult:
        return self.judge(report)


def _result(report: Result, passed: bool, failure: str, output: Any = None) -> TestResult:
    outcome, message = (Outcome.PASSED, "") if passed else (Outcome.FAILED, failure)
    return TestResult(outcome, _cpu_s(report), message, output=output)


def _cpu_s(report: Result) -> float:
    return float(report.get("cpu_s", 0.0))


def judge_test(judge: Judge, report: Result | None) -> TestResult:
    """Judge one test. Whether it is trusted depends on the test alone."""
    result = _judged(judge, report)
    return replace(result, message=one_line(result.message), trusted=not isinstance(judge, Untrusted))


def _judged(judge: Judge, report: Result | None) -> TestResult:
    """Judge one test. A malformed report comes from the program and counts as `runtime_error`."""
    if not isinstance(report, dict):
        return TestResult(Outcome.RUNTIME_ERROR, message="no result")
    try:
        return _early_end(report) or judge(report)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, OverflowError, MemoryError):
        time_s = report.get("cpu_s")  # a remote program may have forged this, too
        time_s = time_s if isinstance(time_s, float) else 0.0
        return TestResult(Outcome.RUNTIME_ERROR, time_s, "the program sent garbage")


def _early_end(report: Result) -> TestResult | None:
    """Return the result of a test that ended early, or `None` for one that ran to its end."""
    for key, outcome in _EARLY_ENDS.items():
        if key in report:
            line = report.get("line")
            text = "time limit exceeded" if outcome is Outcome.TIMEOUT else str(report[key])
            message = NOT_RUN if report.get("not_run") else text
            return TestResult(outcome, _cpu_s(report), message, line if type(line) is int and line > 0 else None)
    return None


class KilledError(SandboxError):
    """Raised if somebody else killed a process of the sandbox."""


def judge_reply(
    program: str,
    judges: Sequence[Judge],
    reply: Reply | Infrastructure,
    is_traced: bool = True,
    called: str | None = None,
    sharing: Sharing = Sharing.NOTHING,
) -> Execution:
    """
    Judge a program by the fork server's last message. Raise a `SandboxError` if the server failed to run it.

    `called` is the function that call tests call, and `sharing` what the tests share.
    """
    if "infrastructure" in reply:
        kind = KilledError if reply.get("killed") is True else SandboxError
        raise kind(one_line(str(reply["infrastructure"])))
    results: list[TestResult] = []
    for index, report in enumerate(reply["tests"]):
        not_run = isinstance(report, dict) and report.get("not_run")
        if not_run and results and results[-1].outcome is not Outcome.PASSED:
            trusted = not isinstance(judges[index], Untrusted)
            results.append(TestResult(results[-1].outcome, message=NOT_RUN, trusted=trusted))
        else:
            results.append(judge_test(judges[index], report))
    compile_s = reply.get("compile_s", 0.0)
    lines = believed_lines(program, reply["lines"], results, called, compile_s) if is_traced else None
    execution = _execution(program, results, lines, float(reply["cpu_s"]))
    if is_traced:
        execution = with_lines_of_tests(program, execution, lines, reply.get("ran"), sharing)
    else:
        execution = replace(execution, trace_lost=False)
    if reply.get("disk_full") and execution.outcome is not Outcome.PASSED:
        raise SandboxError("the disk was full, which may be why the program failed")
    return execution


def worker_lost(program: str, judges: Sequence[Judge], is_traced: bool = True) -> Execution:
    """Return the execution of a program that ended its fork server, while a harmless program passes."""
    results = [
        TestResult(Outcome.RUNTIME_ERROR, message="worker lost", trusted=not isinstance(judge, Untrusted))
        for judge in judges
    ]
    return replace(_execution(program, results, None, 0.0), trace_lost=is_traced)


def worst_of(results: Sequence[TestResult]) -> TestResult:
    """Return the result that decides the outcome of a program."""
    return max(results, key=lambda result: _SEVERITY.get(result.outcome, _OTHER_SEVERITY))


def _execution(program: str, results: Sequence[TestResult], raw_lines: Lines, time_s: float) -> Execution:
    """Combine the results of all tests. `raw_lines` is `None` if the trace was lost or tampered with."""
    worst = worst_of(results)
    num_lines = len(line_spans(program))
    results = [replace(one, error_line=None) if (one.error_line or 0) > num_lines + 1 else one for one in results]
    if raw_lines is not None and not all(1 <= line <= num_lines + 1 for line in raw_lines):
        raw_lines = None
    compiled = worst.outcome is not Outcome.COMPILE_ERROR
    executed = executed_lines(program, raw_lines) if compiled and raw_lines is not None else None
    return Execution(
        worst.outcome,
        tuple(results),
        executed_lines=frozenset() if executed is None else executed,
        kept_lines=kept_lines(program, executed),
        time_s=time_s,
        trusted=all(result.trusted for result in results),
        trace_lost=compiled and raw_lines is None,
    )
