"""Frozen results and aliases shared by all layers."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Any


TLineNo = int  # counts from 1
CharSpan = tuple[int, int]  # half-open [start, end), in characters, counted from 0


class Outcome(str, Enum):
    """
    What became of a test or of a whole program.

    A program has `passed` iff every test passed; otherwise the worst outcome of its tests names it, in the order
    `compile_error`, then `timeout`, `memory_exceeded` and `runtime_error` as equals, then `failed`.
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
    Outcome of one test.

    Attributes:
        outcome (`Outcome`): Verdict.
        time_s (`float`): CPU seconds the test took, tracing included.
        message (`str`): What happened, in one line; empty for a pass.
        error_line (`int` or `None`): Line of the program the error points at, counted from 1.
        trusted (`bool`): Whether the verdict was taken outside the process that ran the program.
        output (`Any`): What the program printed or returned, where `ExecutorConfig.keep_outputs` asks for it.
    """

    __test__ = False  # not a pytest class

    outcome: Outcome
    time_s: float = 0.0
    message: str = ""
    error_line: TLineNo | None = None
    trusted: bool = True
    output: Any = None


@dataclass(frozen=True)
class Execution:
    """
    Result of running one program under its tests.

    Attributes:
        outcome (`Outcome`): Verdict on the program.
        tests (`tuple[TestResult, ...]`): One result per test, in test order.
        executed_lines (`frozenset[int]`): Lines of every statement that ran in at least one test, counted from 1.
        kept_lines (`frozenset[int]`):
            Lines whose tokens Fine-Grained Optimization keeps: `executed_lines`, or all lines for a program that does
            not compile and for one whose trace was lost or tampered with.
        time_s (`float`): CPU seconds of all tests.
        trusted (`bool`): Whether every verdict was taken outside the process that ran the program.
        trace_lost (`bool`):
            Whether it is not known which lines ran: the trace was lost or tampered with. All lines are kept then.
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
        """Whether it passed, but by a verdict that a hostile program could have forged."""
        return self.outcome is Outcome.PASSED and not self.trusted

    @property
    def num_passed(self) -> int:
        """Number of tests that passed."""
        return sum(test.outcome is Outcome.PASSED for test in self.tests)


@dataclass(frozen=True)
class Conditional:
    """
    Conditional statement of a program: a place where the curriculum may start.

    Attributes:
        kind (`str`): What it is, e.g. `"if"`, `"for"`.
        line (`int`): First line of its header, counted from 1.
        end_line (`int`): Last line of the statement.
    """

    kind: str
    line: TLineNo
    end_line: TLineNo


@dataclass(frozen=True)
class Program:
    """
    Program found in a model's answer.

    Attributes:
        text (`str`): What is run: the prefix, if any, followed by the completion's part.
        span (`CharSpan`): Where the completion's part stands in the completion.
    """

    text: str
    span: CharSpan
