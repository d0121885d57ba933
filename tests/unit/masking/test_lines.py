"""Lines that count as executed, given the lines for which a tracer reports an event."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stepcoder_trl.masking import executed_lines
from stepcoder_trl.parsing import compile_for_tracing, line_spans
from tests.strategies import programs
from tests.unit.masking.probes import FILENAME, lines_by_probes


# Each line of these programs is marked: "+" if it runs, "-" if it does not.
MARKED_PROGRAMS = sorted(Path(__file__).with_name("marked_programs").glob("*.txt"))


def namespace(flags: list[bool]) -> dict[str, Any]:
    """Return the names that generated programs use. `flag()` returns the given values in order, then `False`."""
    answers = iter(flags)
    return {
        "__name__": "__main__",
        "flag": lambda: next(answers, False),
        "manager": contextlib.nullcontext,
        "same": lambda function: function,
    }


def raw_events(program: str, names: dict[str, Any]) -> set[int]:
    """Run a program and return the lines for which `sys.settrace` reports an event."""
    lines: set[int] = set()
    code = compile_for_tracing(program, FILENAME)

    def tracer(frame: Any, event: str, arg: object) -> Any:
        if frame.f_code.co_filename != FILENAME:
            return None
        if event == "line":
            lines.add(frame.f_lineno)
        return tracer

    before = sys.gettrace()
    sys.settrace(tracer)
    try:
        with contextlib.suppress(Exception, SystemExit):
            exec(code, names)
    finally:
        sys.settrace(before)
    return lines


def assert_agrees_with_probes(program: str, names: Callable[[], dict[str, Any]]) -> None:
    raw = raw_events(program, names())
    executed = executed_lines(program, raw)
    ran, did_not_run = lines_by_probes(program, names())

    assert ran <= executed, sorted(ran - executed)
    assert not did_not_run & executed, sorted(did_not_run & executed)
    assert raw & set(range(1, len(line_spans(program)) + 1)) <= executed


@settings(max_examples=300, deadline=None)
@given(program=programs(), flags=st.lists(st.booleans(), max_size=30))
def test_executed_lines_of_generated_programs_agree_with_probes(program, flags):
    assert_agrees_with_probes(program, lambda: namespace(flags))


def humaneval_rows() -> list[Any]:
    folder = os.environ.get("STEPCODER_DATA")
    if folder is None:
        return [pytest.param({}, marks=pytest.mark.skip(reason="STEPCODER_DATA does not name the folder of problems"))]
    lines = Path(folder, "humaneval.jsonl").read_text(encoding="utf-8").splitlines()
    return [pytest.param(row, id=row["task_id"]) for row in map(json.loads, lines)]


@pytest.mark.parametrize("row", humaneval_rows())
def test_executed_lines_of_humaneval_agree_with_probes(row):
    program = row["prompt"] + row["canonical_solution"] + row["test"] + f"\ncheck({row['entry_point']})\n"

    assert_agrees_with_probes(program, lambda: {"__name__": "__main__"})


@pytest.mark.parametrize("path", MARKED_PROGRAMS, ids=lambda path: path.stem)
@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"], ids=["lf", "crlf", "cr"])
def test_executed_lines_are_the_marked_ones(path, line_end):
    rows = path.read_text(encoding="utf-8").splitlines()
    program = line_end.join(row[2:] for row in rows)
    marked = {number for number, row in enumerate(rows, 1) if row[0] == "+"}

    executed = executed_lines(program, raw_events(program, {"__name__": "__main__"}))

    assert executed == marked


@settings(deadline=None)
@given(program=programs(), more=st.sets(st.integers(1, 60)), lines=st.sets(st.integers(-2, 60)))
def test_more_events_never_remove_a_line(program, lines, more):
    assert executed_lines(program, lines) <= executed_lines(program, lines | more)


@settings(deadline=None)
@given(program=programs())
def test_all_events_give_all_lines_and_no_events_give_none(program):
    lines = range(1, len(line_spans(program)) + 1)

    assert executed_lines(program, lines) == frozenset(lines)
    assert executed_lines(program, []) == frozenset()


@pytest.mark.parametrize("program", ["# only a comment", "\n\n# comment\n"])
def test_any_event_executes_all_lines_of_program_without_statements(program):
    events = raw_events(program, {})

    assert executed_lines(program, events) == frozenset(range(1, len(line_spans(program)) + 1))
    assert executed_lines(program, []) == frozenset()


def test_program_that_does_not_parse_has_no_executed_lines():
    assert executed_lines("def f(:\n    pass\n", []) == frozenset()


def test_form_feeds_and_unicode_separators_do_not_end_lines():
    program = "a = '\u2028\x85\x0b'\n\x0cif 0:\n    b = 1\nc = 2\n"

    assert executed_lines(program, raw_events(program, {})) == {1, 2, 4}
