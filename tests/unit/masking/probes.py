"""Slow way to find the lines of a program that run: calls are inserted before every statement, no tracer is used."""

from __future__ import annotations

import ast
import contextlib
import re
import tokenize
from io import BytesIO
from typing import Any

from stepcoder_trl.parsing import line_spans


FILENAME = "/untrusted/solution.py"
_NOT_CODE = (tokenize.ENCODING, tokenize.COMMENT, tokenize.NL, tokenize.INDENT, tokenize.DEDENT)


def lines_by_probes(program: str, names: dict[str, Any]) -> tuple[set[int], set[int]]:
    """
    Run a program with probes and divide its lines of code.

    Returns:
        `tuple[set[int], set[int]]`: Lines that ran, and lines that did not. Comments and blank lines are in neither.
    """
    tree = ast.parse(program)
    line_of = {line: lines for lines in logical_lines(program) for line in lines}
    ran = _probed_lines(program, names)
    _copy_results_to_passive_statements(tree, ran, line_of)
    header_of = {
        line_of[decorator.lineno]: node.lineno
        for node in ast.walk(tree)
        for decorator in getattr(node, "decorator_list", [])
    }
    suite_starts = set(_suites_of_else_and_finally(tree))

    executed: set[int] = set()
    not_executed: set[int] = set()
    waiting: list[int] = []  # `else:` and `finally:` lines, which go with the next line of code
    for lines in line_of.values():
        text = _line(program, lines[0]).strip()
        if re.match(r"(else|finally)\s*:", text) and suite_starts.isdisjoint(lines):
            waiting += lines
            continue
        has_run = not ran.isdisjoint(lines) or header_of.get(lines) in ran
        (executed if has_run else not_executed).update(lines, waiting)
        waiting = []
    return executed, not_executed


def _probed_lines(program: str, names: dict[str, Any]) -> set[int]:
    """Return the first lines of the statements and clauses that ran."""
    ran: set[int] = set()
    code = compile(ast.fix_missing_locations(_Probes().visit(ast.parse(program))), FILENAME, "exec")
    with contextlib.suppress(Exception, SystemExit):
        exec(code, {**names, "probe": ran.add})
    return ran


def _copy_results_to_passive_statements(tree: ast.Module, ran: set[int], line_of: dict[int, range]) -> None:
    """Give docstrings, `global`, `nonlocal` and bare annotations the result of the statement that they go with."""
    for node, _, suite in _suites(tree):
        passive = [_is_passive(node, index, statement) for index, statement in enumerate(suite)]
        for index, statement in enumerate(suite):
            candidates = [*range(index, len(suite)), *reversed(range(index))]
            active = next((suite[other] for other in candidates if not passive[other]), statement)
            if active.lineno in ran:
                ran.add(statement.lineno)
            elif all(other is statement or other.lineno not in line_of[statement.lineno] for other in suite):
                ran.discard(statement.lineno)


def _suites_of_else_and_finally(tree: ast.Module) -> list[int]:
    """Return the first line of each suite of an `else` or `finally`."""
    return [
        suite[0].lineno
        for node, name, suite in _suites(tree)
        if name in ("orelse", "finalbody") and not (isinstance(node, ast.If) and _is_elif(node))
    ]


def _suites(tree: ast.Module) -> list[tuple[ast.AST, str, list[ast.stmt]]]:
    """Return every node with a list of statements, the name of the list, and the list."""
    return [
        (node, name, value)
        for node in ast.walk(tree)
        for name, value in ast.iter_fields(node)
        if isinstance(value, list) and value and isinstance(value[0], ast.stmt)
    ]


class _Probes(ast.NodeTransformer):
    """Inserts a call `probe(line)` before every statement and into the header of every clause."""

    def call(self, line: int) -> ast.Call:
        return ast.Call(ast.Name("probe", ast.Load()), [ast.Constant(line)], [])

    def suite(self, nodes: list[ast.stmt]) -> list[ast.stmt]:
        return [part for node in nodes for part in (ast.Expr(self.call(node.lineno)), self.visit(node))]

    def before(self, line: int, value: ast.expr) -> ast.expr:
        """Return an expression that calls the probe, and has the value of the given one."""
        pair = ast.Tuple([self.call(line), value], ast.Load())
        return ast.Subscript(pair, ast.Constant(1), ast.Load())

    def generic_visit(self, node: ast.AST) -> ast.AST:
        for name, value in ast.iter_fields(node):
            if isinstance(value, list) and value and isinstance(value[0], ast.stmt):
                setattr(node, name, self.suite(value))
        for handler in getattr(node, "handlers", []):
            if handler.type is None:
                handler.body = [ast.Expr(self.call(handler.lineno)), *self.suite(handler.body)]
            else:
                handler.type = self.before(handler.lineno, handler.type)
                handler.body = self.suite(handler.body)
        return node

    def visit_If(self, node: ast.If) -> ast.AST:
        if _is_elif(node):
            elif_ = node.orelse[0]
            elif_.test = self.before(elif_.lineno, elif_.test)
            node.orelse, nested = [], self.visit(elif_)
            self.generic_visit(node)
            node.orelse = [nested]
            return node
        return self.generic_visit(node)

    def visit_Match(self, node: ast.Match) -> ast.AST:
        cases = []
        for case in node.cases:
            # A case that never matches calls the probe in its guard.
            guard = ast.BoolOp(ast.And(), [self.call(case.pattern.lineno), ast.Constant(False)])
            cases.append(ast.match_case(ast.MatchAs(None, None), guard, [ast.Pass()]))
            cases.append(ast.match_case(case.pattern, case.guard, self.suite(case.body)))
        node.cases = cases
        return node


def _is_elif(node: ast.If) -> bool:
    # Generated programs and the datasets have no `if` at the same column below an `else:`.
    return (
        len(node.orelse) == 1 and isinstance(node.orelse[0], ast.If) and node.orelse[0].col_offset == node.col_offset
    )


def _is_passive(owner: ast.AST, index: int, node: ast.stmt) -> bool:
    takes_docstring = isinstance(owner, (ast.Module, ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef))
    if index == 0 and takes_docstring and isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
        return isinstance(node.value.value, str)
    return isinstance(node, (ast.Global, ast.Nonlocal)) or (isinstance(node, ast.AnnAssign) and node.value is None)


def logical_lines(program: str) -> list[range]:
    """Return the lines of each logical line, as the tokenizer finds them."""
    found = []
    first = None
    for token in tokenize.tokenize(BytesIO(program.encode()).readline):
        if token.type == tokenize.NEWLINE:
            found.append(range(first or token.start[0], token.end[0] + 1))
            first = None
        elif first is None and token.type not in _NOT_CODE:
            first = token.start[0]
    return found


def _line(program: str, line: int) -> str:
    start, end = line_spans(program)[line - 1]
    return program[start:end]
