"""Lines that ran for each test of a program, from the reports of a process that ran untrusted code."""

from __future__ import annotations

from dataclasses import replace
from functools import reduce
from operator import or_

from stepcoder_trl.executor.verdict.plausible import is_plausible_trace
from stepcoder_trl.executor.verdict.remembering import Sharing, remembers
from stepcoder_trl.executor.wire.line_sets import bits_of, lines_of
from stepcoder_trl.executor.wire.messages import Lines
from stepcoder_trl.masking import executed_lines
from stepcoder_trl.types import Execution, Outcome, TestResult


_MAX_CHECKED_LINES = 500_000  # of a program, once for each set of lines: checking more would take seconds
NOT_RUN = "not run"  # message of a test that was not reached


def with_lines_of_tests(program: str, execution: Execution, lines: Lines, ran: object, sharing: Sharing) -> Execution:
    """
    Add the lines of each test to an execution. Those of all tests together are its `executed_lines`.

    A test that was not reached has the lines of the one before it, whose outcome it has. A test gets the lines of all
    tests if its own are missing or cannot be all that ran, or if the program may remember something between tests.
    So does each test of a long program whose many tests ran many sets of lines.

    Args:
        program (`str`): Text of the program.
        execution ([`Execution`]): Results of the tests, without lines.
        lines (`list[int]` or `None`): Lines with an event in any test. `None` if they are not known.
        ran (`list[str | None]`): Set of such lines for each test. Anything else gives no lines of tests.
        sharing ([`Sharing`]): What the tests share.
    """
    if execution.outcome is Outcome.COMPILE_ERROR:
        return _with(execution, [frozenset()] * len(execution.tests))
    if lines is None or not isinstance(ran, list) or len(ran) != len(execution.tests):
        return execution
    every = sum(1 << line for line in set(lines))
    sets = _believed(program, every, [bits_of(text) for text in ran], sharing)
    known = {every: execution.executed_lines}
    for bits in sets:
        if bits not in known:
            known[bits] = executed_lines(program, lines_of(bits))
    return _with(execution, [known[bits] for bits in sets])


def _believed(program: str, every: int, claims: list[int | None], sharing: Sharing) -> list[int]:
    """Return the lines of each test as bits: its own claim, or `every` line that ran."""
    sets = [every if not bits or bits & ~every else bits for bits in claims]
    if all(bits == every for bits in sets) or reduce(or_, sets) != every:
        return [every] * len(sets)
    if sharing is Sharing.OBJECTS or (sharing is Sharing.MODULE and remembers(program)):
        return [every] * len(sets)
    if len(set(sets)) * (program.count("\n") + 1) > _MAX_CHECKED_LINES:
        return [every] * len(sets)
    plausible = {bits: is_plausible_trace(program, lines_of(bits)) for bits in set(sets) - {every}}
    return [bits if plausible.get(bits, True) else every for bits in sets]


def _with(execution: Execution, lines: list[frozenset[int]]) -> Execution:
    tests: list[TestResult] = []
    for test, own in zip(execution.tests, lines, strict=True):
        repeats = test.message == NOT_RUN and tests and tests[-1].outcome is test.outcome
        tests.append(replace(test, executed_lines=tests[-1].executed_lines if repeats else own))
    return replace(execution, tests=tuple(tests))
