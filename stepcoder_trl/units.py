"""Units of execution: the lines of a program that run together, as far as a line tracer can tell."""

from __future__ import annotations

import ast
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from stepcoder_trl.parsing import SUITES, first_line, from_byte, header_end_line, is_passive, line_spans, parse
from stepcoder_trl.types import TLineNo


_INLINE = 1 << 30  # indentation of a suite that stands on its header's line: no comment is ever in it


@dataclass(frozen=True)
class ExecutableUnit:
    """
    Lines that run together, as far as a line tracer can tell.

    A simple statement with all its lines, or the header of a compound one from its first decorator to its colon, or an
    `except` or `case` header. Statements that share a line are one unit.

    Attributes:
        first_line (`int`): First line, counted from 1.
        last_line (`int`): Last line.
        attached (`tuple[int, ...]`): Comments, blank lines and `else:`, `finally:` lines that share its fate.
        follows (`int` or `None`):
            For a docstring, `global`, `nonlocal` or bare annotation: index of the unit whose fate it shares; in a
            suite that holds nothing else that is the first one. `None` for that one and all others.
    """

    first_line: TLineNo
    last_line: TLineNo
    attached: tuple[TLineNo, ...] = ()
    follows: int | None = None


@dataclass(eq=False)
class _Block:
    """Statements of one suite."""

    indent: int
    parent: _Unit | None
    units: list[_Unit] = field(default_factory=list)


@dataclass(eq=False)
class _Unit:
    """Unit under construction. `index` is its place, or that of the statement whose clause it is, in `block`."""

    number: int
    first: TLineNo
    last: TLineNo
    block: _Block
    index: int
    passive: bool
    is_elif: bool = False
    attached: list[TLineNo] = field(default_factory=list)


def executable_units(program: str) -> list[ExecutableUnit] | None:
    """
    Divide the lines of a program into units of execution. Every line belongs to exactly one.

    `else:` and `finally:` lines are attached to the first statement of their suite. Comments and blank lines are
    attached to the next statement of the block that their indentation says, or to the previous one at its end;
    indentation outside the blocks that are open there counts as that of the nearest one. A comment above an `elif`, at
    its indentation, belongs to it.

    Args:
        program (`str`):
            Text of the program.

    Returns:
        `list[ExecutableUnit]` or `None`: In the order of the text; empty for a program without statements, `None` for
        a text that does not parse.
    """
    tree = parse(program)
    if tree is None:
        return None
    return _UnitBuilder(program).build(tree)


class _UnitBuilder:
    def __init__(self, program: str) -> None:
        self.lines = [program[start:end] for start, end in line_spans(program)]
        self.units: list[_Unit] = []

    def build(self, tree: ast.Module) -> list[ExecutableUnit]:
        self._add_suite(tree, tree.body, None)
        if self.units:
            self._attach_gaps()
        follows = self._follows()
        return [
            ExecutableUnit(unit.first, unit.last, tuple(unit.attached), follows.get(unit.number))
            for unit in self.units
        ]

    def _add_suite(self, owner: ast.AST, suite: Sequence[ast.stmt], parent: _Unit | None) -> None:
        block = _Block(self._suite_indent(suite), parent)
        for index, node in enumerate(suite):
            self._add_statement(node, block, is_passive(owner, suite, index))

    def _suite_indent(self, suite: Sequence[ast.stmt]) -> int:
        if not suite:
            return 0
        line = self.lines[first_line(suite[0]) - 1]
        starts_its_line = first_line(suite[0]) < suite[0].lineno or not line[: suite[0].col_offset].strip()
        return indentation(line) if starts_its_line else _INLINE

    def _add_statement(self, node: ast.stmt, block: _Block, passive: bool) -> None:
        if any(name in SUITES for name in node._fields):
            unit = self._add_unit(first_line(node), header_end_line(node, self.lines), block)
            self._add_suites_of(node, unit)
        else:
            self._add_unit(first_line(node), node.end_lineno or node.lineno, block, passive)

    def _add_suites_of(self, node: ast.stmt, unit: _Unit) -> None:
        while True:
            elif_ = None
            for name, values in ast.iter_fields(node):
                if name == "handlers":
                    self._add_handlers(values, unit)
                elif name == "cases":
                    self._add_cases(node, values, unit)
                elif name == "orelse" and isinstance(node, ast.If) and self._is_elif(values):
                    elif_ = values[0]
                elif name in SUITES and values:
                    self._add_suite(node, values, unit)
            if elif_ is None:
                return
            # A loop, not a recursion: a chain of `elif` is nested as deeply as it is long.
            node = elif_
            unit = self._add_clause(node.lineno, header_end_line(node, self.lines), unit)
            unit.is_elif = True

    def _is_elif(self, orelse: list[ast.stmt]) -> bool:
        if not (len(orelse) == 1 and isinstance(orelse[0], ast.If)):
            return False
        return from_byte(self.lines[orelse[0].lineno - 1], orelse[0].col_offset).startswith("elif")

    def _add_handlers(self, handlers: list[ast.ExceptHandler], owner: _Unit) -> None:
        for handler in handlers:
            clause = self._add_clause(handler.lineno, header_end_line(handler, self.lines), owner)
            self._add_suite(handler, handler.body, clause)

    def _add_cases(self, node: ast.stmt, cases: list[ast.match_case], owner: _Unit) -> None:
        line = header_end_line(node, self.lines)
        block = _Block(0, owner)
        for case in cases:
            line = self._next_code_line(line + 1)  # a `case` has no position, and its pattern may begin lines below it
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

    def _add_clause(self, first: TLineNo, last: TLineNo, owner: _Unit) -> _Unit:
        """Add an `elif` or `except` header: it has the place of the statement it belongs to."""
        unit = _Unit(len(self.units), first, last, owner.block, owner.index, passive=False)
        self.units.append(unit)
        return unit

    def _add_unit(self, first: TLineNo, last: TLineNo, block: _Block, passive: bool = False) -> _Unit:
        if self.units and first <= self.units[-1].last:  # shares a line with the unit before it
            unit = self.units[-1]
            unit.last = max(unit.last, last)
            unit.passive = unit.passive and passive
            return unit
        unit = _Unit(len(self.units), first, last, block, len(block.units), passive)
        self.units.append(unit)
        block.units.append(unit)
        return unit

    def _attach_gaps(self) -> None:
        """Give every line between two units to one of the units."""
        first, last = self.units[0], self.units[-1]
        first.attached += range(1, first.first)
        for before, after in pairwise(self.units):
            if before.last + 1 < after.first:
                self._attach_gap(before, after)
        for line in range(last.last + 1, len(self.lines) + 1):
            block, index = _open_block(last, None, indentation(self.lines[line - 1]))
            _neighbour(block, index).attached.append(line)

    def _attach_gap(self, before: _Unit, after: _Unit) -> None:
        gap = range(before.last + 1, after.first)
        keyword = next((line for line in gap if self._is_code(line)), after.first)  # `else:`, `finally:`
        after.attached += range(keyword, after.first)
        opens_suite = after.block.parent is before and keyword == after.first and after.block.indent != _INLINE
        if opens_suite:
            after.attached += range(gap.start, keyword)
            return
        owner = (
            after.block.parent if after is after.block.units[0] else None
        )  # its suite opens with `else:`, `finally:`
        outermost = owner.block if owner else after.block
        for line in range(gap.start, keyword):
            block, index = _open_block(before, outermost, indentation(self.lines[line - 1]))
            goes_with_elif = after.is_elif and block is outermost
            (after if goes_with_elif else _neighbour(block, index)).attached.append(line)

    def _follows(self) -> dict[int, int]:
        """For each passive unit the next active one of its block, or the previous one at its end, or the first."""
        follows = {unit.number: unit.block.units[0].number for unit in self.units if unit.passive and unit.index}
        for order in (self.units, self.units[::-1]):
            latest: dict[_Block, int] = {}
            for unit in order:
                is_clause = unit is not unit.block.units[unit.index]
                if not (unit.passive or is_clause):
                    latest[unit.block] = unit.number
                elif unit.passive and unit.block in latest:
                    follows[unit.number] = latest[unit.block]
        return follows


def _open_block(unit: _Unit, outermost: _Block | None, indent: int) -> tuple[_Block, int]:
    """Innermost block open after a unit that an indentation belongs to, and the place in it that was reached."""
    block, index = unit.block, unit.index
    while block is not outermost and block.indent > indent:
        parent = block.parent
        if parent is None:
            break
        block, index = parent.block, parent.index
    return block, index


def _neighbour(block: _Block, index: int) -> _Unit:
    return block.units[min(index + 1, len(block.units) - 1)]


def indentation(line: str) -> int:
    """Column of a line's first character, as the tokenizer counts: tabs to multiples of 8, form feeds reset."""
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
