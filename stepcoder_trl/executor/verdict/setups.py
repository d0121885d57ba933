"""
Decide what of a setup the program's process may have.

A setup may hold expected values: in checks, in tables, in a reference solution. With a program whose tests are trusted
run only its imports, calls such as `sys.setrecursionlimit(10**6)`, and what builds arguments of the program.
"""

from __future__ import annotations

import ast
import symtable
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import NamedTuple

from stepcoder_trl.executor.verdict.asserts import (
    BUILTIN_NAMES,
    PLAIN_ATTRIBUTES,
    arguments_of,
    names_class,
    root_name,
)
from stepcoder_trl.executor.verdict.wholes import copied, holds_all, is_sequence, operands
from stepcoder_trl.parsing import syntax_tree


UNREADABLE = (SyntaxError, ValueError, RecursionError, MemoryError)  # raised for code that Python cannot parse

_DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
_COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
_WHOLES = (ast.Expr, ast.List, ast.Tuple, ast.Set, ast.Dict)
_NONE = frozenset[str]()
_OF_NUMBERS = (ast.Constant, ast.UnaryOp, ast.BinOp, ast.operator, ast.unaryop)


class _Statement(NamedTuple):
    """Statement of a setup."""

    defines: frozenset[str]  # names that it binds, or whose objects it changes: `root` for `root.left = Node(2)`
    uses: frozenset[str]
    value: str  # source of the value that it assigns, or ""
    only_defines: bool
    only_assigns: bool  # a value that holds all that its source says
    replaces: frozenset[str]  # names that it binds to another object


@dataclass(frozen=True)
class Setup:
    """Setup of a row, divided into what a program may have and what it may not."""

    code: str  # all but comments and texts, which may tell about results
    harmless: str  # imports, and calls of imported functions with numbers
    rest: tuple[_Statement, ...]
    imported: frozenset[str] = frozenset()  # names that it imports
    sequences: frozenset[str] = frozenset()  # names of sequences and sets

    def is_needed_by(self, code: str) -> bool:
        """Return whether an expression or statement needs more than the harmless part."""
        names = names_used_by(code)
        return any(not statement.only_defines or statement.defines & names for statement in self.rest)

    def only_builds_arguments_of(self, expressions: Sequence[str]) -> bool:
        """
        Return whether the rest is nothing but assignments that build what these expressions take as arguments.

        A table of which they take a part, such as `cases[0][0]` or `cases.get(1)`, may hold results in the others.
        """
        if not all(statement.only_assigns for statement in self.rest):
            return False
        if sum(len(each.replaces) for each in self.rest) > len(_NONE.union(*(each.replaces for each in self.rest))):
            return False  # the first value of a name is in no argument
        # Attributes of a named tuple are parts like elements. Those of objects of the program's classes are arguments.
        own_classes = names_bound_by(self.harmless).union(*(statement.defines for statement in self.rest))
        by_attribute = any(own_classes & _classes_used_by(statement.value) for statement in self.rest)
        needed = _NONE.union(*map(names_used_by, expressions))
        taken_apart = _NONE.union(*(self._taken_apart(each, by_attribute) for each in expressions))
        for statement in reversed(self.rest):
            if not statement.defines <= needed or statement.defines & taken_apart:
                return False
            needed |= statement.uses
            taken_apart |= self._left_out_by(statement.value, by_attribute)
        return True

    def _taken_apart(self, expression: str, by_attribute: bool) -> frozenset[str]:
        """Return the names of which a call of the program gets a part: `f(cases[0][0])`, `f(min(cases))`."""
        return names_used_by(expression) - self._whole(_arguments_of_program(syntax_tree(expression)), by_attribute)

    def _left_out_by(self, value: str, by_attribute: bool) -> frozenset[str]:
        """Return the names of which an assigned value holds a part: `table` in `given = table[0]`."""
        return names_used_by(value) - self._whole(syntax_tree(value).body, by_attribute)

    def _whole(self, nodes: Iterable[ast.AST], by_attribute: bool) -> frozenset[str]:
        """Return the names whose values are in the values of expressions, with all that they hold."""
        return frozenset(name for node in nodes for name in _names_taken_whole(node, by_attribute, self.sequences))


@lru_cache(maxsize=1024)
def divided_setup(source: str) -> Setup:
    """Return a setup in its parts."""
    try:
        body = syntax_tree(source).body
    except UNREADABLE:  # it fails in the program's process, and so does every test
        return Setup(source, source, ())
    imported = _names_imported_by(body)
    harmless = [node for node in body if _is_harmless(node, imported)]
    code = [node for node in body if not _is_text(node)]
    rest = [node for node in code if not _is_harmless(node, imported)]
    return Setup(
        code=ast.unparse(ast.Module(list(code), [])),
        harmless=ast.unparse(ast.Module(list(harmless), [])),
        rest=tuple(_statement(node, imported) for node in rest),
        imported=imported,
        sequences=_sequences(rest),
    )


@lru_cache(maxsize=1024)
def names_imported_by(source: str) -> frozenset[str]:
    """Return the names that a module imports. Empty if Python cannot parse it."""
    try:
        return _names_imported_by(syntax_tree(source).body)
    except UNREADABLE:
        return _NONE


def _names_imported_by(body: Sequence[ast.stmt]) -> frozenset[str]:
    return frozenset(name for node in body if _imports(node) for name in names_bound_by(ast.unparse(node)))


def _sequences(body: Sequence[ast.stmt]) -> frozenset[str]:
    """Return the names to which statements assign sequences and sets, and nothing else."""
    found: set[str] = set()
    for node in body:
        bound = names_bound_by(ast.unparse(node))
        if isinstance(node, ast.Assign) and is_sequence(node.value, found) and _is_named(node):
            found |= bound
        else:
            found -= bound
    return frozenset(found)


def _is_named(node: ast.Assign) -> bool:
    return all(isinstance(target, ast.Name) for target in node.targets)


def _statement(node: ast.stmt, imported: frozenset[str]) -> _Statement:
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
    return _Statement(
        frozenset(defines),
        names_used_by(text),
        ast.unparse(node.value) if isinstance(node, ast.Assign) else "",
        only_defines=isinstance(node, (*_DEFINITIONS, ast.Assign, ast.AnnAssign)) and not changes,
        only_assigns=isinstance(node, ast.Assign) and holds_all(node.value, imported),
        replaces=names_bound_by(text),
    )


@lru_cache(maxsize=1024)
def names_used_by(source: str) -> frozenset[str]:
    """Return the global names that code reads, also in nested functions."""
    return frozenset(_globals_of(_symbols(source)))


def _classes_used_by(value: str) -> frozenset[str]:
    """Return the names of the classes of which a value makes objects."""
    calls = (node for node in ast.walk(syntax_tree(value)) if isinstance(node, ast.Call) and names_class(node.func))
    return frozenset(name for call in calls for name in names_used_by(ast.unparse(call.func)))


def _arguments_of_program(node: ast.AST) -> Iterator[ast.expr]:
    """Yield the arguments of all calls but those of builtins, such as `sorted(f(xs))`, and those in arguments."""
    parts: list[ast.AST] = list(ast.iter_child_nodes(node))
    if isinstance(node, ast.Call) and not (isinstance(node.func, ast.Name) and node.func.id in BUILTIN_NAMES):
        yield from arguments_of(node)
        parts = [node.func]
    for part in parts:
        yield from _arguments_of_program(part)


def _names_taken_whole(node: ast.AST, by_attribute: bool, sequences: frozenset[str]) -> Iterator[str]:
    """Yield the names whose values are in the value of an expression, with all that they hold."""
    parts: list[ast.AST] = []
    match node:
        case ast.Name(id=name):
            yield name
        case ast.Call():
            parts += copied(node, partial(is_sequence, sequences=sequences)) or []
        case ast.Attribute(value=value, attr=name) if not by_attribute and name not in PLAIN_ATTRIBUTES:
            parts.append(value)
        case ast.Starred(value=value) if is_sequence(value, sequences):
            parts.append(value)
        case ast.BinOp():
            parts += operands(node) or []
        case ast.UnaryOp(op=ast.USub() | ast.UAdd(), operand=value):
            parts.append(value)
        case _ if isinstance(node, _WHOLES):
            parts += ast.iter_child_nodes(node)
    for part in parts:
        yield from _names_taken_whole(part, by_attribute, sequences)


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
    return frozenset(
        symbol.get_name() for symbol in _symbols(source).get_symbols() if symbol.is_assigned() or symbol.is_imported()
    )


def _symbols(source: str) -> symtable.SymbolTable:
    tree = syntax_tree(source)
    if any(isinstance(node, _COMPREHENSIONS) for node in ast.walk(tree)):
        source = ast.unparse(ast.fix_missing_locations(_Scopes().visit(tree)))
    return symtable.symtable(source, "<tests>", "exec")


class _Scopes(ast.NodeTransformer):
    """Put each comprehension into a function. From Python 3.12 on, its variables are those of the code around it."""

    def visit(self, node: ast.AST) -> ast.AST:
        if isinstance(node, _COMPREHENSIONS):
            return ast.Call(ast.Lambda(ast.arguments([], [], None, [], [], None, []), node), [], [])
        is_function = isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
        changed: ast.AST = node if is_function else self.generic_visit(node)
        return changed


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
            return root_name(function) in imported and all(map(_is_number, arguments))
    return False


def _is_number(node: ast.expr) -> bool:
    return all(
        isinstance(part, _OF_NUMBERS) and not (isinstance(part, ast.Constant) and isinstance(part.value, (str, bytes)))
        for part in ast.walk(node)
    )


def _is_text(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
