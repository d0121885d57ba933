"""
Decide what of a setup the program's process may have.

A setup may hold expected values: in checks, in tables, in a reference solution. With a program whose tests are trusted
run only its imports, calls such as `sys.setrecursionlimit(10**6)`, and what builds arguments of the program.
"""

from __future__ import annotations

import ast
import symtable
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

from stepcoder_trl.parsing import syntax_tree


UNREADABLE = (SyntaxError, ValueError, RecursionError, MemoryError)  # raised for code that Python cannot parse

_DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
_OF_NUMBERS = (ast.Constant, ast.UnaryOp, ast.BinOp, ast.operator, ast.unaryop)


class _Statement(NamedTuple):
    """Statement of a setup."""

    defines: frozenset[str]  # names that it binds, or whose objects it changes: `root` for `root.left = Node(2)`
    uses: frozenset[str]
    only_defines: bool
    only_assigns: bool


@dataclass(frozen=True)
class Setup:
    """Setup of a row, divided into what a program may have and what it may not."""

    harmless: str  # imports, and calls of imported functions with numbers
    rest: tuple[_Statement, ...]

    def is_needed_by(self, code: str) -> bool:
        """Return whether an expression or statement needs more than the harmless part."""
        names = names_used_by(code)
        return any(not statement.only_defines or statement.defines & names for statement in self.rest)

    def only_builds_arguments_of(self, expressions: Sequence[str]) -> bool:
        """
        Return whether the rest is nothing but assignments that build what these expressions take as arguments.

        A table of which they take an element, such as `cases[0][0]`, may hold results in its other elements.
        """
        if not all(statement.only_assigns for statement in self.rest):
            return False
        needed = frozenset[str]().union(*map(names_used_by, expressions))
        taken_apart = frozenset[str]().union(*map(_names_taken_apart, expressions))
        for statement in reversed(self.rest):
            if not statement.defines <= needed or statement.defines & taken_apart:
                return False
            needed |= statement.uses
        return True


@lru_cache(maxsize=1024)
def divided_setup(source: str) -> Setup:
    """Return a setup in its parts."""
    try:
        body = syntax_tree(source).body
    except UNREADABLE:  # it fails in the program's process, and so does every test
        return Setup(source, ())
    imported = frozenset(name for node in body if _imports(node) for name in names_bound_by(ast.unparse(node)))
    harmless = [node for node in body if _is_harmless(node, imported)]
    rest = [node for node in body if not _is_harmless(node, imported) and not _is_text(node)]
    return Setup(ast.unparse(ast.Module(harmless, [])), tuple(map(_statement, rest)))


def _statement(node: ast.stmt) -> _Statement:
    text = ast.unparse(node)
    defines = set(names_bound_by(text))
    targets = node.targets if isinstance(node, ast.Assign) else []
    for target in targets:
        root: ast.expr = target
        while isinstance(root, (ast.Attribute, ast.Subscript)):
            root = root.value
        if isinstance(root, ast.Name):
            defines.add(root.id)
    changes = any(not isinstance(target, (ast.Name, ast.Tuple, ast.List)) for target in targets)
    has_code = any(isinstance(part, (ast.Lambda, ast.NamedExpr)) for part in ast.walk(node))
    return _Statement(
        frozenset(defines),
        names_used_by(text),
        only_defines=isinstance(node, (*_DEFINITIONS, ast.Assign, ast.AnnAssign)) and not changes,
        only_assigns=isinstance(node, ast.Assign) and not has_code,
    )


@lru_cache(maxsize=1024)
def names_used_by(source: str) -> frozenset[str]:
    """Return the global names that code reads, also in nested functions."""
    return frozenset(_globals_of(symtable.symtable(source, "<tests>", "exec")))


def _names_taken_apart(expression: str) -> Iterator[str]:
    """Yield the names of which an expression takes elements: `cases` in `f(cases[0][0])`."""
    for node in ast.walk(syntax_tree(expression)):
        if isinstance(node, ast.Subscript):
            yield from names_used_by(ast.unparse(node.value))


def _globals_of(table: symtable.SymbolTable) -> Iterator[str]:
    top = table.get_type() == "module"
    for symbol in table.get_symbols():
        if symbol.is_referenced() and (top or symbol.is_global()):
            yield symbol.get_name()
    for child in table.get_children():
        yield from _globals_of(child)


@lru_cache(maxsize=1024)
def names_bound_by(source: str) -> frozenset[str]:
    """Return the global names that code binds."""
    table = symtable.symtable(source, "<tests>", "exec")
    return frozenset(
        symbol.get_name() for symbol in table.get_symbols() if symbol.is_assigned() or symbol.is_imported()
    )


def _imports(node: ast.stmt) -> bool:
    """Return whether a statement only imports: `import math`, also in `try: ... except ImportError: ...`."""
    if isinstance(node, ast.Try):
        suites = (node.body, *(handler.body for handler in node.handlers), node.orelse, node.finalbody)
        return all(_imports(part) for suite in suites for part in suite)
    return isinstance(node, (ast.Import, ast.ImportFrom, ast.Pass))


def _is_harmless(node: ast.stmt, imported: frozenset[str]) -> bool:
    if _imports(node):
        return True
    match node:
        case ast.Expr(value=ast.Call(func=function, args=arguments, keywords=[])):
            root = function
            while isinstance(root, ast.Attribute):
                root = root.value
            is_imported = isinstance(root, ast.Name) and root.id in imported
            return is_imported and all(map(_is_number, arguments))
    return False


def _is_number(node: ast.expr) -> bool:
    return all(
        isinstance(part, _OF_NUMBERS) and not (isinstance(part, ast.Constant) and isinstance(part.value, (str, bytes)))
        for part in ast.walk(node)
    )


def _is_text(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
