"""Compare what a backend did with a program with what the corpus says."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import dataclass, replace
from pathlib import Path

from stepcoder_trl.errors import SandboxError
from stepcoder_trl.executor.backend import HARMLESS_PROGRAM, HARMLESS_TESTS, Backend
from stepcoder_trl.executor.local.executor import CodeExecutor
from stepcoder_trl.executor.selftest import leftovers
from stepcoder_trl.executor.selftest.corpus import Case
from stepcoder_trl.executor.selftest.growth import Peaks
from stepcoder_trl.parsing import line_spans
from stepcoder_trl.types import Execution


MAX_MESSAGE_CHARACTERS = 300
_TRIES_OF_MEASURES = 2  # other programs on the machine use its disk and shared memory, too


@dataclass(frozen=True)
class SelftestFinding:
    """One failure of the suite."""

    kind: str  # "hostile", "correct", or "after" for leftovers and checks after the programs
    name: str  # of the program, or of the programs that ran in parallel
    expected: str  # allowed outcomes, separated by `|`; empty for leftovers
    found: str  # actual outcome, or a description of the leftover
    detail: str = ""  # message of the first test that did not pass, and the note of the corpus


def submit(backend: Backend, case: Case) -> Future[Execution]:
    """Submit the program of a case."""
    return backend.submit(case.program, case.tests)


def check_future(case: Case, future: Future[Execution]) -> Iterator[SelftestFinding]:
    """Wait for the result of a case. Yield what is wrong with it."""
    try:
        execution = future.result()
    except SandboxError as error:
        expected = "|".join(sorted(case.expected))
        yield SelftestFinding(case.kind, case.name, expected, "SandboxError", f"{error}; {case.note}")
        return
    yield from check_execution(case, execution)


def check_execution(case: Case, execution: Execution) -> Iterator[SelftestFinding]:
    """Yield what is wrong with the result of a case: its outcome, messages or lines."""
    messages = [test.message for test in execution.tests if test.message]
    detail = f"{messages[0][:MAX_MESSAGE_CHARACTERS]!r}; {case.note}" if messages else case.note

    def finding(expected: str, found: str) -> SelftestFinding:
        return SelftestFinding(case.kind, case.name, expected, found, detail)

    allowed = "|".join(sorted(case.expected))
    if execution.outcome.value not in case.expected:
        yield finding(allowed, execution.outcome.value)
    elif "worker lost" in messages:
        yield finding(allowed, "worker lost")
    if any(len(message) > MAX_MESSAGE_CHARACTERS or not message.isprintable() for message in messages):
        yield finding(f"messages of one line and {MAX_MESSAGE_CHARACTERS} printable characters", "another message")
    if case.requirements.message_not and any(case.requirements.message_not in message for message in messages):
        yield finding(f"no message with {case.requirements.message_not!r}", "such a message")
    if case.requirements.untrusted and execution.trusted:
        yield finding("an untrusted result", "a trusted one")
    num_lines = len(line_spans(case.program))
    beyond = [line for line in execution.executed_lines | execution.kept_lines if not 1 <= line <= num_lines]
    if beyond:
        yield finding(f"lines 1 to {num_lines}", f"lines {sorted(beyond)[:5]}")
    needs = case.requirements
    if not execution.trace_lost:
        if missing := needs.ran - execution.executed_lines:
            yield finding(f"executed lines {sorted(needs.ran)}, or a lost trace", f"not lines {sorted(missing)}")
        if claimed := needs.not_run & execution.executed_lines:
            yield finding(f"lines {sorted(needs.not_run)} not executed, or a lost trace", f"lines {sorted(claimed)}")


def check_alone(case: Case, executor: CodeExecutor, scratch_root: Path | None = None) -> list[SelftestFinding]:
    """
    Run a case on a new worker with the settings of an executor and of the case. Return what is wrong.

    `scratch_root` is a folder that only this package's executors use for their scratch folders.
    """
    config = replace(executor.config, num_workers=1, **case.requirements.config)
    census = leftovers.Census(scratch_root)
    for last in (number == _TRIES_OF_MEASURES - 1 for number in range(_TRIES_OF_MEASURES)):
        with CodeExecutor(config) as alone:
            alone.run(HARMLESS_PROGRAM, HARMLESS_TESTS)
            servers = leftovers.children_of_ours()
            findings = check_companions(case.requirements.first, alone)
            with Peaks(case.requirements.growth_mib) as peaks:
                findings += check_rate(case, alone) if case.requirements.runs > 1 else check_one(case, alone)
            findings += check_companions(case.requirements.then, alone)
            findings += (SelftestFinding("after", case.name, "", left) for left in census.left_behind(servers))
        too_large = [name for name, limit in case.requirements.growth_mib.items() if peaks.mib[name] > limit]
        if last or not too_large:
            break
    for name in too_large:
        expected = f"{name} grows by at most {case.requirements.growth_mib[name]} MiB"
        findings.append(SelftestFinding(case.kind, case.name, expected, f"{peaks.mib[name]:.0f} MiB", case.note))
    return findings


def check_one(case: Case, backend: Backend) -> list[SelftestFinding]:
    """Run a case once. Return what is wrong."""
    return list(check_future(case, submit(backend, case)))


def check_companions(cases: tuple[Case, ...], backend: Backend) -> list[SelftestFinding]:
    """Run cases one after the other. Return what is wrong."""
    return [finding for case in cases for finding in check_one(case, backend)]


def check_rate(case: Case, backend: Backend) -> list[SelftestFinding]:
    """Run a case several times. Return what is wrong, too many passes included."""
    runs, highest = case.requirements.runs, case.requirements.highest_rate
    executions = [future.result() for future in [submit(backend, case) for _ in range(runs)]]
    findings = [finding for execution in executions for finding in check_execution(case, execution)]
    passed = sum(execution.outcome.value == "passed" for execution in executions)
    if passed > highest * runs:
        expected = f"at most {highest * runs:.0f} of {runs} runs pass"
        findings.append(SelftestFinding(case.kind, case.name, expected, f"{passed} passed", case.note))
    return findings
