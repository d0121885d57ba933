"""
What is sent to a fork server for one program, and the verdict on what comes back.

A job holds inputs, never expected outputs. The reply is a set of claims by a process that ran untrusted code: it is
checked for form, compared with the expectations here, and whatever is wrong with it counts against the program.
"""

from __future__ import annotations

import math
from base64 import b64decode
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from functools import partial
from typing import Any

from stepcoder_trl.errors import BadInputError, SandboxError
from stepcoder_trl.executor.verdict.asserts import split_assert
from stepcoder_trl.executor.verdict.compare import stdout_matches, values_match
from stepcoder_trl.executor.verdict.examinable import binds_names, functions_of, plan_check, root_name
from stepcoder_trl.executor.wire.codec import STARVED_WALL_FACTOR, decode, encode, json_bytes
from stepcoder_trl.masking import executed_lines, kept_lines
from stepcoder_trl.parsing import line_spans
from stepcoder_trl.types import Execution, Outcome, TestResult


MIN_OUTPUT_BYTES = 16 * 2**20
MIN_KEPT_BYTES = 4 * MIN_OUTPUT_BYTES  # of all tests together
MAX_MEMORY_BYTES = 2**50  # more than any machine has, and less than a limit may be
WALL_PER_CPU = 3.0  # a program that sleeps may take this many times its CPU limit
SERVER_SLACK_S = 30.0  # a server that is silent for longer than its program may take, and this, is lost
TESTS_PER_PROGRAM_LIMIT = 5  # default limit for all tests together, in limits for one
# Program and tests that every sandbox passes: asks one that lost a job whether the fault was its own.
CANARY: tuple[str, dict[str, Any]] = ("print(input())\n", {"type": "stdio", "inputs": ["ok"], "outputs": ["ok"]})
_SEVERITY = {
    Outcome.PASSED: 0,
    Outcome.FAILED: 1,
    Outcome.RUNTIME_ERROR: 2,
    Outcome.MEMORY_EXCEEDED: 2,
    Outcome.TIMEOUT: 2,
    Outcome.COMPILE_ERROR: 3,
}

Judge = Callable[[dict[str, Any]], TestResult]


@dataclass(frozen=True)
class Limits:
    """Limits of one job, in seconds and bytes; see `ExecutorConfig`."""

    timeout_s: float
    program_timeout_s: float | None
    memory_limit_bytes: int
    float_tolerance: float | None = None
    stop_on_first_failure: bool = False
    fresh_process_per_test: bool = False
    keep_outputs: bool = False


def check_limits(settings: Any, *durations: str) -> None:
    """
    Refuse settings of a backend that no job could run under.

    Args:
        settings (`Any`): Object with the fields of `Limits` that every backend has, and `isolation`.
        *durations (`str`): Further fields that hold seconds.

    Raises:
        BadInputError: If a value cannot be used; names the field and the fix.
    """
    for name in ("timeout_s", "program_timeout_s", *durations):
        value = getattr(settings, name)
        if value is not None and not (value > 0 and math.isfinite(value)):
            raise BadInputError(f"`{name}` is {value}, but must be a positive number of seconds.")
    if settings.memory_limit_bytes < 2**20:
        raise BadInputError(
            f"`memory_limit_bytes` is {settings.memory_limit_bytes}, but must be at least 1048576. It counts bytes: "
            f"write 512 * 2**20 for 512 MiB."
        )
    tolerance = settings.float_tolerance
    if tolerance is not None and not (tolerance >= 0 and math.isfinite(tolerance)):
        raise BadInputError(f"`float_tolerance` is {tolerance}, but must be at least 0. Leave it out to compare text.")
    if settings.isolation not in ("auto", "strict", "none"):
        raise BadInputError(f"`isolation` is {settings.isolation!r}, but must be 'auto', 'strict' or 'none'.")


def limits_of(settings: Any) -> Limits:
    """Limits among the settings of a backend; it need not have all of them."""
    names = (one.name for one in fields(Limits))
    return Limits(**{name: getattr(settings, name) for name in names if hasattr(settings, name)})


@dataclass(frozen=True)
class Job:
    """
    One program with its tests, ready to be sent.

    Attributes:
        program (`str`): Source text.
        message (`dict`): What the fork server gets.
        judges (`tuple`): For each test, the function from the server's report to a result.
        deadline_s (`float`): Wall seconds after which a server that has not answered counts as lost.
        stop_on_first_failure (`bool`): Whether the tests after the first that does not pass are left out.
        keep_outputs (`bool`): Whether results hold what the program printed or returned.
        checks (`bytes`): What the examiner gets, and the program's process must not see; empty for no examiner.
        without_examiner (`Callable`): Makes the same job with all tests that cannot be split in the program's process.
    """

    program: str
    message: dict[str, Any]
    judges: tuple[Judge, ...]
    deadline_s: float
    stop_on_first_failure: bool
    keep_outputs: bool = False
    checks: bytes = b""
    without_examiner: Callable[[], Job] | None = field(default=None, compare=False)


@dataclass(frozen=True)
class _Parts:
    """Tests taken apart: what the program's process gets, who judges, and what the examiner gets."""

    payload: list[Any]
    judges: list[Judge]
    checks: bytes = b""
    setup: str = ""


def prepare_job(program: str, tests: Mapping[str, Any], limits: Limits, examine: bool = True) -> Job:
    """
    Take the tests of one problem apart into what the program's process may see and what it may not.

    Args:
        program (`str`): Source text; any text at all.
        tests (`Mapping`): Validated tests object.
        limits (`Limits`): Defaults; the tests' own `timeout_s` and `memory_limit_bytes` take precedence.
        examine (`bool`, *optional*, defaults to `True`): Whether there is an examiner for tests that it can take.

    Returns:
        `Job`: Message and judges.
    """
    timeout_s = float(tests.get("timeout_s", limits.timeout_s))
    program_s = limits.program_timeout_s
    program_s = TESTS_PER_PROGRAM_LIMIT * timeout_s if program_s is None else max(program_s, timeout_s)
    # Everything that happens for one program: on a busy machine, repeated after a killing, once more for its lines.
    hard_wall_s = STARVED_WALL_FACTOR * WALL_PER_CPU * (program_s + timeout_s)
    parts = _PREPARERS[tests["type"]](tests, limits, examine)
    expected = _expected_bytes(tests)
    message = {
        "program": program,
        "type": tests["type"],
        "fn_name": tests.get("fn_name"),
        "preamble": tests.get("preamble", ""),
        "setup": parts.setup,
        "tests": parts.payload,
        "checks_bytes": len(parts.checks),
        "timeout_s": timeout_s,
        "wall_s": WALL_PER_CPU * timeout_s,
        "program_cpu_s": program_s,
        "program_wall_s": WALL_PER_CPU * program_s,
        "hard_wall_s": hard_wall_s,
        "memory_limit_bytes": min(int(tests.get("memory_limit_bytes", limits.memory_limit_bytes)), MAX_MEMORY_BYTES),
        "max_output_bytes": max(MIN_OUTPUT_BYTES, 2 * max(expected)),
        "max_kept_bytes": max(MIN_KEPT_BYTES, 2 * sum(expected)),
        "gated": limits.stop_on_first_failure,
        "fresh_process_per_test": limits.fresh_process_per_test,
    }
    return Job(
        program,
        message,
        tuple(parts.judges),
        hard_wall_s + SERVER_SLACK_S,
        limits.stop_on_first_failure,
        limits.keep_outputs,
        parts.checks,
        partial(prepare_job, program, tests, limits, examine=False),
    )


def _expected_bytes(tests: Mapping[str, Any]) -> list[int]:
    """Length of the standard output that each test expects."""
    if tests["type"] != "stdio":
        return [0]
    return [len(text.encode("utf-8", "surrogatepass")) for text in tests["outputs"]]


def _prepare_stdio(tests: Mapping[str, Any], limits: Limits, examine: bool) -> _Parts:
    def judge_for(expected: str) -> Judge:
        def judge(report: dict[str, Any]) -> TestResult:
            if stdout_matches(_printed(report), expected, limits.float_tolerance):
                return _passed(report)
            return _failed(report, "wrong standard output")

        return judge

    return _Parts([{"input": text} for text in tests["inputs"]], [judge_for(text) for text in tests["outputs"]])


def _prepare_call(tests: Mapping[str, Any], limits: Limits, examine: bool) -> _Parts:
    def judge_for(expected: Any) -> Judge:
        def judge(report: dict[str, Any]) -> TestResult:
            actual = decode(report["value"])
            return _passed(report) if values_match(actual, expected) else _failed(report, "wrong value returned")

        return judge

    return _Parts(
        [encode(list(arguments)) for arguments in tests["inputs"]], [judge_for(value) for value in tests["outputs"]]
    )


def _prepare_assert(tests: Mapping[str, Any], limits: Limits, examine: bool) -> _Parts:
    setup, preamble = tests["setup"], tests.get("preamble", "")
    # A test that leaves a name to the next one would leave it in another process.
    examine = examine and not any(map(binds_names, tests["asserts"]))
    payload: list[Any] = []
    judges: list[Judge] = []
    examined: dict[int, Any] = {}
    for number, statement in enumerate(tests["asserts"]):
        split = split_assert(statement)
        asks_setup = split is not None and not functions_of(setup).isdisjoint(map(root_name, split.expressions))
        check = plan_check(statement, setup, preamble) if examine and (split is None or asks_setup) else None
        if check is not None:
            payload.append({"candidates": list(check.candidates)})
            judges.append(_judge_examined)
            examined[number] = {**asdict(check), "candidates": len(check.candidates)}
        elif split is None or (asks_setup and split.truth):
            payload.append({"code": statement})
            judges.append(_judge_inside)
        else:
            payload.append({"expressions": list(split.expressions), "truth": split.truth})
            judges.append(_judge_split(statement))
    checks = json_bytes({"preamble": preamble, "setup": setup, "tests": examined}) if examined else b""
    # Setups hold expected values: none for a program whose tests all run elsewhere.
    return _Parts(payload, judges, checks, setup if len(examined) < len(payload) else "")


def _judge_split(statement: str) -> Judge:
    def judge(report: dict[str, Any]) -> TestResult:
        split = split_assert(statement)
        assert split is not None  # it was when the job was made
        values = [decode(value) for value in report["value"]]
        if len(values) != len(split.expressions):
            raise ValueError("a value is missing")
        try:
            holds = split.holds(values)
        except Exception as error:  # e.g. `None < 1`: what the statement itself would have raised
            return TestResult(Outcome.RUNTIME_ERROR, _cpu_s(report), f"{type(error).__name__} in the comparison")
        return _passed(report) if holds else _failed(report, "assertion does not hold")

    return judge


def _judge_examined(report: dict[str, Any]) -> TestResult:
    if report.get("held") is True:
        return _passed(report)
    return _failed(report, str(report["asserted"]))


def _judge_inside(report: dict[str, Any]) -> TestResult:
    return replace(_judge_examined(report), trusted=False)


_PREPARERS: dict[str, Callable[[Mapping[str, Any], Limits, bool], _Parts]] = {
    "stdio": _prepare_stdio,
    "call": _prepare_call,
    "assert": _prepare_assert,
}


def _passed(report: dict[str, Any]) -> TestResult:
    return TestResult(Outcome.PASSED, _cpu_s(report))


def _failed(report: dict[str, Any], message: str) -> TestResult:
    return TestResult(Outcome.FAILED, _cpu_s(report), message)


def _cpu_s(report: dict[str, Any]) -> float:
    return float(report.get("cpu_s", 0.0))


def judge_test(job: Job, index: int, report: Any) -> TestResult:
    """
    Verdict on one test.

    Args:
        job (`Job`): The job that was sent.
        index (`int`): Which test.
        report (`Any`): What the fork server says of it.

    Returns:
        `TestResult`: Malformed reports come from the program and count as `runtime_error`.
    """
    if not isinstance(report, dict):
        return TestResult(Outcome.RUNTIME_ERROR, message="no result")
    try:
        ending = _judge_ending(report)
        if ending is not None:
            return ending
        result = job.judges[index](report)
        return replace(result, output=_answer(job, report)) if job.keep_outputs else result
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, OverflowError, MemoryError):
        return TestResult(Outcome.RUNTIME_ERROR, _cpu_s(report), "the program sent garbage")


def _answer(job: Job, report: dict[str, Any]) -> Any:
    """What a test that came to its end printed or returned; `None` for an assert."""
    kind = job.message["type"]
    if kind == "stdio":
        return _printed(report)
    return decode(report["value"]) if kind == "call" else None


def _printed(report: dict[str, Any]) -> str:
    """Standard output of a test; bytes that are not UTF-8 are escaped."""
    if "base64" in report:
        return b64decode(report["base64"]).decode("utf-8", "surrogateescape")
    return str(report["output"])


def _judge_ending(report: dict[str, Any]) -> TestResult | None:
    """Result of a test that did not come to its end; `None` if it did."""
    for key, outcome in _BAD_ENDINGS.items():
        if key in report:
            line = report.get("line")
            text = "time limit exceeded" if outcome is Outcome.TIMEOUT else str(report[key])
            message = "not run" if report.get("unrun") else text
            return TestResult(outcome, _cpu_s(report), message, line if isinstance(line, int) else None)
    return None


_BAD_ENDINGS = {
    "compile_error": Outcome.COMPILE_ERROR,
    "timeout": Outcome.TIMEOUT,
    "memory": Outcome.MEMORY_EXCEEDED,
    "error": Outcome.RUNTIME_ERROR,
}


def judge_job(job: Job, reply: Any) -> Execution:
    """
    Verdict on a whole program.

    Args:
        job (`Job`): The job that was sent.
        reply (`Any`): The fork server's final message.

    Returns:
        `Execution`: Outcome, results and lines.

    Raises:
        SandboxError: If the server says that it could not run the program.
    """
    if "infrastructure" in reply:
        raise SandboxError(str(reply["infrastructure"]))
    results: list[TestResult] = []
    for index, report in enumerate(reply["tests"]):
        unrun = isinstance(report, dict) and report.get("unrun")
        if unrun and results and results[-1].outcome is not Outcome.PASSED:
            results.append(TestResult(results[-1].outcome, message="not run", trusted=results[-1].trusted))
        else:
            results.append(judge_test(job, index, report))
    return make_execution(job.program, results, reply["lines"], float(reply["cpu_s"]))


def make_execution(program: str, results: list[TestResult], raw_lines: list[int] | None, time_s: float) -> Execution:
    """
    Put the results of all tests together.

    Args:
        program (`str`): Source text.
        results (`list[TestResult]`): One per test.
        raw_lines (`list[int]` or `None`): Line events; `None` if the trace was lost or tampered with.
        time_s (`float`): CPU seconds.

    Returns:
        `Execution`: The worst outcome names the program, the first of equals.
    """
    worst = max(results, key=lambda result: _SEVERITY[result.outcome])
    all_lines = frozenset(range(1, len(line_spans(program)) + 1))
    if raw_lines is not None and not all(1 <= line <= len(all_lines) + 1 for line in raw_lines):
        raw_lines = None
    compiled = worst.outcome is not Outcome.COMPILE_ERROR
    executed = executed_lines(program, raw_lines) if compiled and raw_lines is not None else None
    kept = kept_lines(program, executed)
    trusted = all(result.trusted for result in results)
    return Execution(
        worst.outcome, tuple(results), executed or frozenset(), kept, time_s, trusted, compiled and raw_lines is None
    )


def worker_lost(job: Job) -> Execution:
    """Result of a job that took its worker along, while others pass."""
    result = TestResult(Outcome.RUNTIME_ERROR, message="worker lost")
    return make_execution(job.program, [result] * len(job.judges), None, 0.0)
