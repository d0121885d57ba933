"""
Judge what programs print by a checker: code of the dataset that says whether an output is right.

A checker is not trusted with anything. It runs like a program, in a process and a sandbox of its own, after the
program whose outputs it judges has ended. The program never sees it, nor the expected outputs.
"""

from __future__ import annotations

import math
from concurrent.futures import Future
from dataclasses import replace
from typing import Protocol

from stepcoder_trl.errors import SandboxError
from stepcoder_trl.executor.verdict.judge import worst_of
from stepcoder_trl.executor.verdict.limits import Limits, program_seconds
from stepcoder_trl.executor.verdict.schema import Tests
from stepcoder_trl.executor.wire.codec import MAX_CHARACTERS
from stepcoder_trl.executor.wire.frames import json_length
from stepcoder_trl.types import Execution, Outcome, TestResult


class Submit(Protocol):
    """Function that runs a program in the background under these limits."""

    def __call__(self, program: str, tests: Tests, limits: Limits) -> Future[Execution]: ...


# The answer of a checker may be anything that is true or false.
_MAX_JSON = 2 * MAX_CHARACTERS  # characters of JSON that are sent to a checker at a time: some have six there
_JUDGE = "\n\ndef _is_right(*texts):\n    return bool(check(*texts))\n"


def submit_checked(submit: Submit, program: str, tests: Tests, limits: Limits) -> Future[Execution]:
    """
    Run a program in the background, then the checker of its tests on what it printed.

    The checker has the limit of one test for each output. What it takes for one leaves the others their time. If the
    limits say to stop at the first failure, each test is checked before the next one runs.
    """
    if limits.stop_on_first_failure:
        return _OneByOne(submit, program, tests, replace(limits, stop_on_first_failure=False)).begin()
    judged: Future[Execution] = Future()
    printed = submit(program, tests, limits)
    judged.add_done_callback(lambda future: printed.cancel() if future.cancelled() else None)
    printed.add_done_callback(lambda future: _Check(submit, tests, limits, judged).begin(future))
    return judged


class _OneByOne:
    """Runs and checks one test after the other, and stops at the first that does not pass."""

    def __init__(self, submit: Submit, program: str, tests: Tests, limits: Limits) -> None:
        self.submit, self.program, self.tests, self.limits = submit, program, tests, limits
        self.num_tests = len(tests["inputs"])
        self.timeout_s = float(tests.get("timeout_s", limits.timeout_s))
        self.left_s = program_seconds(limits.program_timeout_s, self.timeout_s, self.num_tests)
        self.done: list[Execution] = []
        self.judged: Future[Execution] = Future()

    def begin(self) -> Future[Execution]:
        current = self.submit_next()
        self.judged.add_done_callback(lambda future: current.cancel() if future.cancelled() else None)
        current.add_done_callback(self.start)
        return self.judged

    def submit_next(self) -> Future[Execution]:
        number = len(self.done)
        one = {name: [self.tests[name][number]] for name in ("inputs", "outputs")}
        timeout_s = min(self.timeout_s, self.left_s)
        return submit_checked(
            self.submit, self.program, Tests({**self.tests, **one, "timeout_s": timeout_s}), self.limits
        )

    def start(self, current: Future[Execution]) -> None:
        if current.cancelled():
            self.judged.cancel()
        elif self.judged.set_running_or_notify_cancel():
            self.receive(current)

    def receive(self, current: Future[Execution]) -> None:
        try:
            if current.cancelled():
                raise SandboxError("This executor was closed before all tests had run.")
            execution = current.result()
            self.done.append(execution)
            self.left_s -= execution.time_s
            if execution.outcome is Outcome.PASSED and len(self.done) < self.num_tests and self.left_s > 0:
                self.submit_next().add_done_callback(self.receive)
            else:
                self.judged.set_result(self.joined())
        except Exception as error:  # whatever it is, whoever waits for the program has to learn of it
            self.judged.set_exception(error)

    def joined(self) -> Execution:
        """Return one execution of all tests. Those that did not run take the outcome of the last one that did."""
        results = [execution.tests[0] for execution in self.done]
        num_left = self.num_tests - len(results)
        left = Outcome.TIMEOUT if results[-1].outcome is Outcome.PASSED else results[-1].outcome
        results += [TestResult(left, message="not run")] * num_left
        return Execution(
            worst_of(results).outcome,
            tuple(results),
            executed_lines=frozenset().union(*(one.executed_lines for one in self.done)),
            kept_lines=frozenset().union(*(one.kept_lines for one in self.done)),
            time_s=sum(one.time_s for one in self.done),
            trusted=all(one.trusted for one in self.done),
            trace_lost=any(one.trace_lost for one in self.done),
        )


class _Check:
    """Second half of the work: a checker on the outputs of one program. Large ones are sent one after the other."""

    def __init__(self, submit: Submit, tests: Tests, limits: Limits, judged: Future[Execution]) -> None:
        self.submit, self.tests, self.judged = submit, tests, judged
        self.keep_outputs = limits.keep_outputs
        self.limits = replace(limits, program_timeout_s=math.inf)
        self.waiting: list[int] = []  # numbers of the tests whose output has to be checked
        self.verdicts: dict[int, TestResult] = {}

    def begin(self, printed: Future[Execution]) -> None:
        if printed.cancelled():
            self.judged.cancel()
            return
        if not self.judged.set_running_or_notify_cancel():
            return
        try:
            execution = printed.result()
            self.waiting = [number for number, test in enumerate(execution.tests) if self.can_check(number, test)]
            self.go_on(execution)
        except Exception as error:  # whatever it is, whoever waits for the program has to learn of it
            self.judged.set_exception(error)

    def go_on(self, execution: Execution) -> None:
        if not self.waiting:
            self.end(execution)
            return
        numbers = self.next_numbers(execution)
        arguments = [self.arguments(number, execution.tests[number]) for number in numbers]
        tests = {**self.tests, "type": "call", "fn_name": "_is_right", "inputs": arguments}
        tests["outputs"] = [True] * len(arguments)
        program = tests.pop("checker") + _JUDGE
        tests.pop("preamble", None)
        checker = self.submit(program, Tests(tests), self.limits)
        checker.add_done_callback(lambda future: self.receive(execution, numbers, future))

    def next_numbers(self, execution: Execution) -> list[int]:
        """Take as many tests off those that wait as may be sent at a time."""
        numbers: list[int] = []
        size = 0
        while self.waiting:
            size += self.json_length(self.waiting[0], execution.tests[self.waiting[0]])
            if numbers and size > _MAX_JSON:
                break
            numbers.append(self.waiting.pop(0))
        return numbers

    def can_check(self, number: int, test: TestResult) -> bool:
        if test.outcome is not Outcome.PASSED or not isinstance(test.output, str):
            return False
        is_short = sum(map(len, self.arguments(number, test))) <= MAX_CHARACTERS
        return is_short and self.json_length(number, test) <= _MAX_JSON

    def json_length(self, number: int, test: TestResult) -> int:
        return sum(map(json_length, self.arguments(number, test)))

    def arguments(self, number: int, test: TestResult) -> list[str]:
        printed = str(test.output).encode("utf-8", "surrogateescape").decode("utf-8", "replace")
        return [self.tests["inputs"][number], self.tests["outputs"][number], printed]

    def receive(self, execution: Execution, numbers: list[int], checker: Future[Execution]) -> None:
        try:
            if checker.cancelled():
                raise SandboxError("This executor was closed before the checker had started.")
            self.verdicts.update(zip(numbers, checker.result().tests, strict=True))
            self.go_on(execution)
        except Exception as error:
            self.judged.set_exception(error)

    def end(self, execution: Execution) -> None:
        results = list(execution.tests)
        for number, verdict in self.verdicts.items():
            results[number] = _judged(results[number], verdict)
        for number, result in enumerate(results):
            if result.outcome is Outcome.PASSED and number not in self.verdicts:
                results[number] = replace(result, outcome=Outcome.FAILED, message="too much output for the checker")
        if not self.keep_outputs:
            results = [replace(result, output=None) for result in results]
        self.judged.set_result(replace(execution, outcome=worst_of(results).outcome, tests=tuple(results)))


def _judged(result: TestResult, verdict: TestResult) -> TestResult:
    """Return the result of a test whose program ran to its end, by the verdict of its checker."""
    if verdict.outcome is Outcome.PASSED:
        return result
    is_answer = verdict.outcome is Outcome.FAILED
    message = "the checker rejects the output" if is_answer else f"the checker fails: {verdict.message}"
    return replace(result, outcome=Outcome.FAILED, message=message)
