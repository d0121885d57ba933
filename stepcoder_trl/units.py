"""
Units of execution: groups of lines of a program that a line tracer cannot tell apart.

A unit is a simple statement with all its lines, or the header of a compound statement. Comments, blank lines, `else:`
and `finally:` lines are attached to a unit, because they have no line event of their own.
"""

from __future__ import annotations

import ast
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import pairwise

from stepcoder_trl.parsing import SUITES, first_line, from_byte, header_end_line, is_passive, line_spans, parse
from stepcoder_trl.types import TLineNo


_INLINE = 1 << 30  # indentation of a suite on the line of its header: larger than that of any comment


@dataclass(frozen=True)
class ExecutableUnit:
    """
    Lines that a line tracer cannot tell apart.

    A unit is a simple statement with all its lines, the header of a compound statement from its first decorator to its
    colon, or an `elif`, `except` or `case` header. Statements that share a line are one unit.

    `follows` is the index of the unit with which this unit runs, if this unit is passive: a docstring, `global`,
    `nonlocal` or bare annotation. In a suite of passive units all others follow the first. It is `None` for the first
    of such a suite and for all active units.

    `after` is the index of the unit that ran before, whenever this unit ran: the one before it in its suite, else the
    header of the suite. A `try` statement begins its other suites after the first statement of its body, and asks its
    `except` headers in their order. `after` is `None` for the first unit of the program.

    `silent`: the unit surely never has a line event, because it is the docstring of a function.
    """

    first_line: TLineNo
    last_line: TLineNo
    attached: tuple[TLineNo, ...] = ()  # comments, blank lines, `else:` and `finally:`, which run if the unit runs
    follows: int | None = None
    after: int | None = None
    silent: bool = False


@dataclass(eq=False)
class _Block:
    """Units of one suite, and the unit of the header that it belongs to."""

    indent: int
    parent: _Unit | None
    units: list[_Unit] = field(default_factory=list)


@dataclass(eq=False)
class _Unit:
    """
    Unit under construction.

    `number` counts all units, `index` is the position in `block`. An `elif` or `except` header is not in `block.units`
    and has the index of its statement.
    """

    number: int
    first: TLineNo
    last: TLineNo
    block: _Block
    index: int
    passive: bool
    silent: bool = False
    is_elif: bool = False
    before: _Unit | None = None  # that ran before, where it is neither the one before it nor the header of its suite
    attached: list[TLineNo] = field(default_factory=list)


@lru_cache(maxsize=8)  # a trace is checked and then used. Do not change the list
def executable_units(program: str) -> list[ExecutableUnit] | None:
    """
    Divide the lines of a program into units of execution, in the order of the text. Every line belongs to exactly one.

    - `else:` and `finally:` lines are attached to the first statement of their suite.
    - A comment or blank line belongs to the innermost open block that is not indented more than it. It is attached to
      the next statement of that block, or at the block's end to the last one.
    - A comment above an `elif`, with the same indentation, is attached to the `elif`.

    A program without statements has no unit. For a text that does not parse, `None` is returned.
    """
    tree = parse(program)
    if tree is None:
        return None
    return _UnitBuilder(program).build(tree)


class _UnitBuilder:
    """Builds the units of one program."""

    def __init__(self, program: str) -> None:
        self.lines = [program[start:end] for start, end in line_spans(program)]
        self.units: list[_Unit] = []

    def build(self, tree: ast.Module) -> list[ExecutableUnit]:
        self._add_suite(tree, tree.body, None)
        if self.units:
            self._attach_gaps()
        follows = self._follows()
        return [
            ExecutableUnit(
                unit.first, unit.last, tuple(unit.attached), follows.get(unit.number), _after(unit), unit.silent
            )
            for unit in self.units
        ]

    def _add_suite(self, owner: ast.AST, suite: Sequence[ast.stmt], parent: _Unit | None) -> _Block:
        block = _Block(self._suite_indent(suite), parent)
        for index, node in enumerate(suite):
            passive = is_passive(owner, suite, index)
            silent = passive and isinstance(node, ast.Expr) and _begins_function(owner, suite)
            self._add_statement(node, block, passive, silent)
        return block

    def _suite_indent(self, suite: Sequence[ast.stmt]) -> int:
        if not suite:
            return 0
        line = self.lines[first_line(suite[0]) - 1]
        has_decorator = first_line(suite[0]) < suite[0].lineno
        starts_its_line = has_decorator or not line[: suite[0].col_offset].strip()
        return indentation(line) if starts_its_line else _INLINE

    def _add_statement(self, node: ast.stmt, block: _Block, passive: bool, silent: bool) -> None:
        if any(name in SUITES for name in node._fields):
            unit = self._add_unit(first_line(node), header_end_line(node, self.lines), block)
            self._add_suites_of(node, unit)
        else:
            self._add_unit(first_line(node), node.end_lineno or node.lineno, block, passive, silent)

    def _add_suites_of(self, node: ast.stmt, unit: _Unit) -> None:
        if "handlers" in node._fields:
            self._add_suites_of_try(node, unit)
            return
        while True:
            elif_ = None
            for name, values in ast.iter_fields(node):
                if name == "cases":
                    self._add_cases(node, values, unit)
                elif name == "orelse" and isinstance(node, ast.If) and self._is_elif(values):
                    elif_ = values[0]
                elif name in SUITES and values:
                    self._add_suite(node, values, unit)
            if elif_ is None:
                return
            # A loop, because each `elif` is nested in the one before: recursion would be too deep in a long chain.
            node = elif_
            unit = self._add_clause(node.lineno, header_end_line(node, self.lines), unit, unit)
            unit.is_elif = True

    def _is_elif(self, orelse: list[ast.stmt]) -> bool:
        if not (len(orelse) == 1 and isinstance(orelse[0], ast.If)):
            return False
        return from_byte(self.lines[orelse[0].lineno - 1], orelse[0].col_offset).startswith("elif")

    def _add_suites_of_try(self, node: ast.stmt, unit: _Unit) -> None:
        parts = dict(ast.iter_fields(node))  # `try` with `except*` has a class of its own, from Python 3.11 on
        before = begun = next(iter(self._add_suite(node, parts["body"], unit).units), unit)
        for handler in parts["handlers"]:
            before = self._add_clause(handler.lineno, header_end_line(handler, self.lines), unit, before)
            self._add_suite(handler, handler.body, before)
        for suite in (parts["orelse"], parts["finalbody"]):
            for first in self._add_suite(node, suite, unit).units[:1]:
                first.before = begun

    def _add_cases(self, node: ast.stmt, cases: list[ast.match_case], owner: _Unit) -> None:
        line = header_end_line(node, self.lines)
        block = _Block(0, owner)
        for case in cases:
            # A `case` has no position in the syntax tree, and its pattern may begin on a later line.
            line = self._next_code_line(line + 1)
            block.indent = indentation(self.lines[line - 1])
            self._add_suite(case, case.body, self._add_unit(line, header_end_line(case, self.lines), block))
            line = case.body[-1].end_lineno or line

    def _next_code_line(self, line: TLineNo) -> TLineNo:
        while not self._is_code(line):
            line += 1
        return line

    def _is_code(self, line: TLineNo) -> bool:
        text = self.lines[line - 1].strip()
        return bool(text) and not text.startswith("#")

    def _add_clause(self, first: TLineNo, last: TLineNo, statement: _Unit, before: _Unit) -> _Unit:
        """Add an `elif` or `except` header. It has the block and index of its statement."""
        unit = _Unit(len(self.units), first, last, statement.block, statement.index, passive=False, before=before)
        self.units.append(unit)
        return unit

    def _add_unit(
        self, first: TLineNo, last: TLineNo, block: _Block, passive: bool = False, silent: bool = False
    ) -> _Unit:
        if self.units and first <= self.units[-1].last:  # shares a line with the unit before it
            unit = self.units[-1]
            unit.last = max(unit.last, last)
            unit.passive, unit.silent = unit.passive and passive, unit.silent and silent
            return unit
        unit = _Unit(len(self.units), first, last, block, len(block.units), passive, silent)
        self.units.append(unit)
        block.units.append(unit)
        return unit

    def _attach_gaps(self) -> None:
        """Attach every line before, between and after the units to one of them."""
        first, last = self.units[0], self.units[-1]
        first.attached += range(1, first.first)
        for before, after in pairwise(self.units):
            if before.last + 1 < after.first:
                self._attach_gap(before, after)
        for line in range(last.last + 1, len(self.lines) + 1):
            block, index = _open_block(last, None, indentation(self.lines[line - 1]))
            _next_unit(block, index).attached.append(line)

    def _attach_gap(self, before: _Unit, after: _Unit) -> None:
        """Attach the lines between two units: comments, blank lines and at most one `else:` or `finally:`."""
        gap = range(before.last + 1, after.first)
        else_line = self._else_or_finally_line(gap)
        if else_line is not None:
            after.attached += range(else_line, after.first)
            gap = range(gap.start, else_line)
        elif after.block.parent is before and after.block.indent != _INLINE:  # the suite of the header `before`
            after.attached += gap
            return
        outermost = _outermost_block(after)
        for line in gap:
            block, index = _open_block(before, outermost, indentation(self.lines[line - 1]))
            goes_with_elif = after.is_elif and block is outermost
            (after if goes_with_elif else _next_unit(block, index)).attached.append(line)

    def _else_or_finally_line(self, gap: range) -> TLineNo | None:
        """Return the line of `else:` or `finally:` between two units, or `None`. All other code is in a unit."""
        return next((line for line in gap if self._is_code(line)), None)

    def _follows(self) -> dict[int, int]:
        """Return for each passive unit the next active unit of its block, else the previous one, else the first."""
        follows: dict[int, int] = {}
        for block in dict.fromkeys(unit.block for unit in self.units):
            follows |= {unit.number: block.units[0].number for unit in block.units[1:] if unit.passive}
            # The pass in reverse order comes last and overwrites: the next active unit has precedence.
            for order in (block.units, block.units[::-1]):
                active: _Unit | None = None
                for unit in order:
                    if not unit.passive:
                        active = unit
                    elif active is not None:
                        follows[unit.number] = active.number
        return follows


def _begins_function(owner: ast.AST, suite: Sequence[ast.stmt]) -> bool:
    """Return whether a docstring begins a function that has more than passive statements."""
    is_function = isinstance(owner, (ast.FunctionDef, ast.AsyncFunctionDef))
    return is_function and not all(is_passive(owner, suite, index) for index in range(len(suite)))


def _outermost_block(unit: _Unit) -> _Block:
    """Return the outermost block to which a comment above a unit may belong."""
    parent = unit.block.parent
    if parent is not None and unit is unit.block.units[0]:
        return parent.block  # `else:` or `finally:` opens the unit's suite, and the comment is above that line
    return unit.block


def _open_block(unit: _Unit, outermost: _Block | None, indent: int) -> tuple[_Block, int]:
    """Return the innermost block open after a unit that is not indented more, and the index reached in it."""
    block, index = unit.block, unit.index
    while block is not outermost and block.indent > indent:
        parent = block.parent
        if parent is None:
            break
        block, index = parent.block, parent.index
    return block, index


def _after(unit: _Unit) -> int | None:
    """Return the number of the unit that ran before a unit, whenever it ran."""
    before = unit.before
    if before is None:
        before = unit.block.units[unit.index - 1] if unit.index else unit.block.parent
    return None if before is None else before.number


def _next_unit(block: _Block, index: int) -> _Unit:
    """Return the unit after an index of a block, or the last one."""
    return block.units[min(index + 1, len(block.units) - 1)]


def indentation(line: str) -> int:
    """Return the column of the first character. Tabs go to multiples of 8, form feeds reset, as in the tokenizer."""
    column = 0
    for character in line:
        if character == " ":
            column += 1
        elif character == "\t":
            column = column // 8 * 8 + 8
        elif character == "\f":
            column = 0
        else:
            break
    return column
