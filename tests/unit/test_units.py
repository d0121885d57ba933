"""Lines of a program that run together."""

from __future__ import annotations

import sys
import time

import pytest
from hypothesis import given, settings

from stepcoder_trl.parsing import compile_for_tracing, line_spans
from stepcoder_trl.units import executable_units, indentation
from tests.strategies import programs


def test_deepest_nesting_of_blocks_gives_one_unit_per_line():
    program = "".join(" " * depth + "if x:\n" for depth in range(95)) + " " * 95 + "y\n"

    units = executable_units(program)

    assert units is not None
    assert len(units) == 96


def test_long_chain_of_elif_gives_one_unit_per_line():
    program = "if x:\n    a\n" + "elif y:\n    b\n" * 800

    units = executable_units(program)

    assert units is not None
    assert len(units) == 1602


@pytest.mark.parametrize(
    "program",
    [
        "x = 1\n" * 100_000,
        "# c\n\n" * 100_000,
        "def f():\n    # c\n\n    if x:\n        y\n    elif z:\n        w\n    else:\n        q\n" * 5000,
        "if x:\n    y\n" + "    # c\n" * 100_000 + "z\n",
    ],
    ids=["statements", "comments", "blocks", "one gap"],
)
def test_long_program_takes_seconds(program):
    begin = time.process_time()

    executable_units(program)

    assert time.process_time() - begin < 20


@settings(deadline=None)
@given(programs())
def test_every_line_belongs_to_exactly_one_unit(program):
    units = executable_units(program)

    assert units is not None
    lines = [line for unit in units for line in (*range(unit.first_line, unit.last_line + 1), *unit.attached)]
    assert sorted(lines) == list(range(1, len(line_spans(program)) + 1))


@settings(deadline=None)
@given(programs())
def test_kind_of_line_end_does_not_change_units(program):
    assert executable_units(program.replace("\n", "\r\n")) == executable_units(program)
    assert executable_units(program.replace("\n", "\r")) == executable_units(program)


@settings(deadline=None)
@given(programs())
def test_followed_unit_follows_no_other(program):
    units = executable_units(program)

    assert units is not None
    assert all(units[unit.follows].follows is None for unit in units if unit.follows is not None)


def lines_of_unit(program: str, line: int) -> list[int]:
    """Return the lines of the unit that starts at a line, with its attached lines."""
    units = executable_units(program)
    assert units is not None
    unit = next(unit for unit in units if unit.first_line == line)
    return sorted((*range(unit.first_line, unit.last_line + 1), *unit.attached))


def test_statements_on_one_line_are_one_unit():
    assert lines_of_unit("a = [\n1]; b = [\n2\n]\nc\n", 1) == [1, 2, 3, 4]


def test_comment_belongs_to_block_of_its_indentation():
    program = "if a:\n    b\n    # b\n  # between\n# c\nc\n"

    assert lines_of_unit(program, 2) == [2, 3]
    assert lines_of_unit(program, 6) == [4, 5, 6]


def test_unindented_comment_inside_block_belongs_to_next_statement():
    assert lines_of_unit("def f():\n    a\n# old\n    b\nc\n", 4) == [3, 4]


def test_tab_indents_like_eight_spaces():
    assert lines_of_unit("if a:\n\tb\n        # b\nc\n", 2) == [2, 3]


def test_comment_above_elif_belongs_to_it_and_above_else_to_outer_block():
    program = "if a:\n    b\n# elif\nelif c:\n    d\n# else\nelse:\n    # e\n    e\nf\n"

    assert lines_of_unit(program, 4) == [3, 4]
    assert lines_of_unit(program, 9) == [7, 8, 9]
    assert lines_of_unit(program, 10) == [6, 10]


@pytest.mark.parametrize(
    ("line", "column"),
    [("x", 0), ("    x", 4), ("\tx", 8), ("   \tx", 8), ("\t x", 9), ("  \f x", 1), ("", 0), ("  \n", 2)],
)
def test_indentation_is_counted_like_the_tokenizer_does(line, column):
    assert indentation(line) == column


@pytest.mark.parametrize(
    ("header", "last"),
    [
        ("if (a and  # b: c\n        d\n):  # e", 3),
        ("while a[b:c]:", 1),
        ("for x in {a: b,\n    c: d}:", 2),
        ("with (a as b,\n      c as d,\n):", 3),
        ("def f(a: int = {1: 2},\n      # x: y\n      *, b=lambda: 1,\n) -> 'x:y':", 4),
        ("class C(\n    A,\n    k=1,\n):", 4),
        ("@a.b(\n    1)\n@c\nasync def f(\n):", 5),
        ("if 'caf\u00e9: \U0001f600' == (\n    'x'):", 2),
        ("if x \\\n    :", 2),
    ],
)
def test_header_ends_at_its_colon(header, last):
    program = header + "\n    # comment\n    pass\n"

    assert lines_of_unit(program, 1) == list(range(1, last + 1))
    assert lines_of_unit(program, last + 2) == [last + 1, last + 2]


@pytest.mark.skipif(sys.version_info < (3, 12), reason="type parameters came with Python 3.12")
def test_type_parameters_belong_to_header():
    assert lines_of_unit("def f[T: (int,\n    str)](\n    x,\n):\n    pass\n", 1) == [1, 2, 3, 4]


def lines_with_events(code):
    """Return the lines in the tables of a code object and of those in it."""
    nested = (lines_with_events(constant) for constant in code.co_consts if hasattr(constant, "co_lines"))
    return {line for _, _, line in code.co_lines() if line}.union(*nested)


@given(programs())
@settings(max_examples=200, deadline=None)
def test_silent_unit_has_no_line_event(program):
    known = lines_with_events(compile_for_tracing(program, "solution.py"))

    for unit in executable_units(program):
        assert not unit.silent or known.isdisjoint(range(unit.first_line, unit.last_line + 1))


@pytest.mark.parametrize(
    ("program", "silent"),
    [
        ('def f():\n    """Text."""\n    return 1\n', [False, True, False]),
        ('async def f():\n    """Text\n    of two lines."""\n    return 1\n', [False, True, False]),
        ('def f():\n    """Text."""; x = 1\n    return x\n', [False, False, False]),
        ('"""Text."""\nclass C:\n    """Text."""\n    x = 1\n', [False] * 4),
        ("def f():\n    global x\n    x = 1\n", [False] * 3),
        ('def f():\n    """Text."""\n    global x\n', [False] * 3),
    ],
)
def test_only_the_docstring_of_a_function_is_silent(program, silent):
    assert [unit.silent for unit in executable_units(program)] == silent
