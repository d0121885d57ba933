"""
Record lines in shared memory, where they outlive a killed process.

The program itself notes its lines: a note is put before each statement. A trace function would be slower, and the
interpreter removes it after a RecursionError (CPython issue 134216).
"""

from __future__ import annotations

import ast
import builtins
import mmap
from collections.abc import Sequence
from types import CodeType
from typing import TypeVar

from stepcoder_trl.executor.child.tracer import LineTracer
from stepcoder_trl.parsing import COMPILE_ERRORS, first_line, is_passive, quiet_parser, suites, syntax_tree
from stepcoder_trl.types import TLineNo


_Node = TypeVar("_Node", bound=ast.AST)

_NAME = "__lines_that_ran__"  # of the shared memory, among the builtins


class NotingTracer(LineTracer):
    """
    Recorder that writes to memory shared with the fork server: byte `i` is set when line `i` runs.

    It is used to run a test again whose child died without a report.
    """

    def __init__(self, filename: str, memory: mmap.mmap) -> None:
        super().__init__(filename)
        self._memory = memory

    def compile(self, program: str) -> CodeType:
        """Compile the program with notes. A program that is nested too deeply for notes has none."""
        plain = super().compile(program)
        try:
            tree = syntax_tree(program.removeprefix("\ufeff"))
            add_notes(tree)
            with quiet_parser():
                return compile(tree, self.filename, "exec", dont_inherit=True, optimize=0)
        except COMPILE_ERRORS:
            return plain

    def _start_recording(self, lines: set[int]) -> None:
        builtins.__dict__[_NAME] = self._memory

    def stop(self) -> None:
        builtins.__dict__.pop(_NAME, None)

    def _is_in_place(self) -> bool:
        return False  # the fork server reads the shared memory


def add_notes(tree: ast.Module) -> None:
    """Put a note before each statement, in place."""
    nodes = list(ast.walk(tree))
    for node in nodes:
        for suite in suites(node):
            suite[:] = _with_notes(node, suite)
    for node in nodes:
        if isinstance(node, ast.Match):
            _note_cases(node)
        elif isinstance(node, ast.ExceptHandler):
            _note_handler(node)


def _with_notes(owner: ast.AST, suite: Sequence[ast.stmt]) -> list[ast.stmt]:
    if not suite or all(is_passive(owner, suite, index) for index in range(len(suite))):
        return [*suite, _note(first_line(suite[0]) if suite else 1)]
    noted: list[ast.stmt] = []
    notes: list[ast.stmt] = []
    for index, node in enumerate(suite):
        passive = is_passive(owner, suite, index)
        if not passive:
            notes.append(_note(first_line(node)))
        if not passive and not _is_future(node):  # before an import of `__future__` there may be no other statement
            noted += notes
            notes = []
        noted.append(node)
    return noted + notes


def _is_future(node: ast.stmt) -> bool:
    return isinstance(node, ast.ImportFrom) and node.module == "__future__" and not node.level


def _note_handler(handler: ast.ExceptHandler) -> None:
    if handler.type is None:
        handler.body.insert(0, _note(handler.lineno))
    else:
        handler.type = _noting(handler.type)


def _note_cases(match: ast.Match) -> None:
    """Note the headers of all cases up to the one that matches. If none matches, note all."""
    headers = [_note(case.pattern.lineno) for case in match.cases]
    for index, case in enumerate(match.cases):
        case.body[:0] = headers[: index + 1]
    last = match.cases[-1]
    if last.guard is not None or not _matches_all(last.pattern):
        otherwise = ast.match_case(pattern=ast.MatchAs(), body=list(headers))
        match.cases.append(_placed(otherwise, match.lineno))


def _matches_all(pattern: ast.pattern) -> bool:
    if isinstance(pattern, ast.MatchOr):
        return any(map(_matches_all, pattern.patterns))
    return isinstance(pattern, ast.MatchAs) and (pattern.pattern is None or _matches_all(pattern.pattern))


def _note(line: TLineNo) -> ast.stmt:
    """Return the statement that notes a line. It calls nothing, so that it does not fail at the limit of recursion."""
    target = ast.Subscript(ast.Name(_NAME, ast.Load()), ast.Constant(line), ast.Store())
    return _placed(ast.Assign([target], ast.Constant(1)), line)


def _noting(expression: ast.expr) -> ast.expr:
    """Return an expression that notes its line first, and has the same value."""
    line = expression.lineno
    set_item = ast.Attribute(ast.Name(_NAME, ast.Load()), "__setitem__", ast.Load())
    note = ast.Call(set_item, [ast.Constant(line), ast.Constant(1)], [])
    pair = ast.Tuple([note, expression], ast.Load())
    return _placed(ast.Subscript(pair, ast.Constant(1), ast.Load()), line)


def _placed(node: _Node, line: TLineNo) -> _Node:
    """Return a node after giving it, and all nodes in it that have none, a place in the text."""
    place = ast.Pass(lineno=line, col_offset=0, end_lineno=line, end_col_offset=0)
    return ast.fix_missing_locations(ast.copy_location(node, place))
