"""Frozen results and aliases shared by all layers."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Any


TLineNo = int  # counts from 1
CharSpan = tuple[int, int]  # half-open [start, end), in characters, counted from 0


class Outcome(str, Enum):
    """
    Outcome of a test or a program.

    A program has `passed` if every test passed. Otherwise it has the worst outcome of its tests: `compile_error`, then
    `timeout`, `memory_exceeded` and `runtime_error` (equally bad), then `failed`.
    """

    PASSED = "passed"
    FAILED = "failed"
    RUNTIME_ERROR = "runtime_error"
    TIMEOUT = "timeout"
    MEMORY_EXCEEDED = "memory_exceeded"
    COMPILE_ERROR = "compile_error"

    def __str__(self) -> str:
        return self.value


@dataclass(frozen=True)
class TestResult:
    """
    Result of one test.

    Attributes:
        outcome (`Outcome`): Outcome of the test.
        time_s (`float`): CPU seconds of the test, tracing included.
        message (`str`): Error message in one line. Empty if the test passed.
        error_line (`int` or `None`): Line of the program that raised the error, counted from 1.
        trusted (`bool`): Whether the outcome was decided outside the process that ran the program.
        executed_lines (`frozenset[int]` or `None`):
            Lines of every statement that ran for this test, those of the module level included, counted from 1. All
            tests together have `Execution.executed_lines`. Each test has all of these if the program may remember
            something between tests. `None` if the lines are not known, or were not recorded.
        output (`Any`): Printed or returned value. Kept only with `ExecutorConfig.keep_outputs`.
    """

    __test__ = False  # not a pytest class

    outcome: Outcome
    time_s: float = 0.0
    message: str = ""
    error_line: TLineNo | None = None
    trusted: bool = True
    output: Any = None
    executed_lines: frozenset[TLineNo] | None = None


@dataclass(frozen=True)
class Execution:
    """
    Result of running one program against its tests.

    Attributes:
        outcome (`Outcome`): Outcome of the program.
        tests (`tuple[TestResult, ...]`): One result per test, in test order.
        executed_lines (`frozenset[int]`): Lines of every statement that ran in at least one test, counted from 1.
        kept_lines (`frozenset[int]`):
            Lines whose tokens Fine-Grained Optimization keeps: `executed_lines`, or all lines if the program does not
            compile or its trace was lost.
        time_s (`float`): CPU seconds of all tests.
        trusted (`bool`): Whether every outcome was decided outside the process that ran the program.
        trace_lost (`bool`): Whether the trace was lost or tampered with. All lines are kept then.
    """

    outcome: Outcome
    tests: tuple[TestResult, ...]
    executed_lines: frozenset[TLineNo]
    kept_lines: frozenset[TLineNo]
    time_s: float
    trusted: bool
    trace_lost: bool = False

    @property
    def is_untrusted_pass(self) -> bool:
        """Return whether the program passed by tests whose outcome it could have forged."""
        return self.outcome is Outcome.PASSED and not self.trusted

    @property
    def num_passed(self) -> int:
        """Return the number of tests that passed."""
        return sum(test.outcome is Outcome.PASSED for test in self.tests)


@dataclass(frozen=True)
class Conditional:
    """
    Conditional statement of a program, at which a curriculum stage may start.

    Attributes:
        kind (`str`): Kind of statement, e.g. `"if"` or `"for"`.
        line (`int`): First line of the header, counted from 1.
        end_line (`int`): Last line of the statement.
    """

    kind: str
    line: TLineNo
    end_line: TLineNo


@dataclass(frozen=True)
class Program:
    """
    Program extracted from a completion.

    Attributes:
        text (`str`): Program to run: the prefix, if any, and the code of the completion.
        span (`CharSpan`): Span of this code in the completion.
    """

    text: str
    span: CharSpan
