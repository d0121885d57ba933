"""
Decide what of a setup the program's process may have.

A setup may hold expected values: in checks, in tables, in a reference solution. With a program whose tests are trusted
run only its imports, calls such as `sys.setrecursionlimit(10**6)`, and what builds arguments of the program.
"""

from __future__ import annotations

import ast
import cmath
import operator
import symtable
import sys
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import NamedTuple

from stepcoder_trl.executor.verdict.asserts import BUILTIN_NAMES, root_name
from stepcoder_trl.executor.verdict.plain_calls import PlainCalls
from stepcoder_trl.parsing import quiet_parser, syntax_tree


UNREADABLE = (SyntaxError, ValueError, RecursionError, MemoryError)  # raised for code that Python cannot parse

_DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
_COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
_NONE = frozenset[str]()
_OF_MATH = frozenset(("math", "isclose"))
_OF_NUMBERS = (ast.Constant, ast.UnaryOp, ast.BinOp, ast.operator, ast.unaryop)


class _Statement(NamedTuple):
    """Statement of a setup."""

    defines: frozenset[str]  # names that it binds, or whose objects it changes: `root` for `root.left = Node(2)`
    uses: frozenset[str]
    only_defines: bool
    target: str  # source of the name or attribute that it assigns to, or ""
    value: ast.expr  # that it assigns


@dataclass(frozen=True)
class Setup:
    """Setup of a row, divided into what a program may have and what it may not."""

    code: str  # all but comments and texts, which may tell about results
    harmless: str  # imports, and calls of imported functions with numbers
    rest: tuple[_Statement, ...]
    bound: frozenset[str] = frozenset()  # names that it binds
    made: frozenset[str] = frozenset()  # those of them that not only imports bind
    keeps_nothing: bool = False  # whether its functions and values cannot change from test to test

    def is_needed_by(self, code: str) -> bool:
        """Return whether an expression or statement needs more than the harmless part."""
        return not self.only_defines or not self.defined.isdisjoint(names_used_by(code))

    @cached_property
    def only_defines(self) -> bool:
        """Whether the rest does nothing but bind names."""
        return all(statement.only_defines for statement in self.rest)

    @cached_property
    def defined(self) -> frozenset[str]:
        """Names that the rest binds, or whose objects it changes."""
        return _NONE.union(*(statement.defines for statement in self.rest))

    def builds_arguments_of(
        self, expressions: Iterable[str], own_names: Collection[str], own_made: Collection[str] = ()
    ) -> bool:
        """
        Return whether the rest is nothing but assignments that build what plain calls take as whole arguments.

        `own_names` are names that the preamble binds, `own_made` those of them that not only imports bind.
        """
        known, made = self.bound.union(own_names), self.made.union(own_made)
        given: set[str] = set()
        targets: list[str] = []
        for statement in self.rest:
            target, is_name = statement.target, statement.target.isidentifier()
            if not PlainCalls(known, made, given).is_argument(statement.value):
                return False
            if (is_name and isinstance(statement.value, ast.Name)) or not (is_name or statement.defines <= given):
                return False  # two names of one object, or an attribute of what is no argument
            if not target or any(each == target or each.startswith(f"{target}.") for each in targets):
                return False  # what it was before is in no argument
            targets.append(target)
            given |= statement.defines
        needed = _NONE.union(*map(names_used_by, expressions))
        for statement in reversed(self.rest):
            if not statement.defines <= needed:
                return False
            needed |= statement.uses
        return all(PlainCalls(known, made, given).is_plain(each) for each in expressions)


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
        rest=tuple(map(_statement, rest)),
        bound=names_bound_by(source),
        made=_names_made_by(body),
        keeps_nothing=all(map(_keeps_nothing, rest)),
    )


def _names_imported_by(body: Sequence[ast.stmt]) -> frozenset[str]:
    return frozenset(name for node in body if _imports(node) for name in names_bound_by(ast.unparse(node)))


def _names_made_by(body: Sequence[ast.stmt]) -> frozenset[str]:
    return names_bound_by(ast.unparse(ast.Module([node for node in body if not _imports(node)], [])))


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
    is_simple = len(targets) == 1 and root_name(targets[0]) != ""
    return _Statement(
        frozenset(defines),
        names_used_by(text),
        only_defines=isinstance(node, (*_DEFINITIONS, ast.Assign, ast.AnnAssign)) and not changes,
        target=ast.unparse(targets[0]) if is_simple else "",
        value=node.value if isinstance(node, ast.Assign) else ast.Name(""),
    )


@lru_cache(maxsize=1024)
def names_used_by(source: str) -> frozenset[str]:
    """Return the global names that code reads, also in nested functions."""
    return frozenset(_globals_of(_symbols(source)))


def _globals_of(table: symtable.SymbolTable) -> Iterator[str]:
    top = table.get_type() == "module"
    for symbol in table.get_symbols():
        if symbol.is_referenced() and (top or symbol.is_global()):
            yield symbol.get_name()
    for child in table.get_children():
        yield from _globals_of(child)


def names_bound_by_module(source: str) -> frozenset[str]:
    """Return the names that a module binds. Empty if Python cannot parse it."""
    try:
        return names_bound_by(source)
    except UNREADABLE:
        return _NONE


def names_made_by_module(source: str) -> frozenset[str]:
    """Return the names that statements of a module other than imports bind. Empty if Python cannot parse it."""
    try:
        return _names_made_by(syntax_tree(source).body)
    except UNREADABLE:
        return _NONE


@lru_cache(maxsize=1024)
def names_bound_by(source: str) -> frozenset[str]:
    """Return the global names that code binds."""
    return frozenset(
        symbol.get_name() for symbol in _symbols(source).get_symbols() if symbol.is_assigned() or symbol.is_imported()
    )


@lru_cache(maxsize=1024)
def rebound_by(source: str) -> frozenset[str]:
    """
    Return the names of builtins, `math` and `isclose` that mean something else after a module.

    It binds them to others, or may do so by `from numpy import *`. Empty if Python cannot parse it.
    """
    try:
        bound = names_bound_by(source)
        stars = map(_names_of_star, ast.walk(syntax_tree(source))) if "*" in source else ()
        if bound & _OF_MATH:
            bound = names_bound_by(ast.unparse(_WithoutMath().visit(syntax_tree(source))))
    except UNREADABLE:
        return _NONE
    return bound.union(*stars) & (BUILTIN_NAMES | _OF_MATH)


class _WithoutMath(ast.NodeTransformer):
    """Drop imports of `math`, and of its `isclose`, under their own names: they bind what the names mean."""

    def visit_Import(self, node: ast.Import) -> ast.stmt:
        return self._without(node, "math")

    def visit_ImportFrom(self, node: ast.ImportFrom) -> ast.stmt:
        return self._without(node, "isclose") if node.module == "math" else node

    def _without(self, node: ast.Import | ast.ImportFrom, name: str) -> ast.stmt:
        node.names = [each for each in node.names if (each.name, each.asname or name) != (name, name)]
        return node if node.names else ast.Pass()


def _names_of_star(node: ast.AST) -> frozenset[str]:
    """Return the names that `from module import *` may bind. Of the standard library two modules have some of them."""
    match node:
        case ast.ImportFrom(module="operator", names=[ast.alias(name="*")]):
            return frozenset(operator.__all__)
        case ast.ImportFrom(module="cmath", names=[ast.alias(name="*")]):
            return frozenset(dir(cmath))
        case ast.ImportFrom(module=str() as module, names=[ast.alias(name="*")]):
            is_known = module.partition(".")[0] in sys.stdlib_module_names
            return _NONE if is_known else BUILTIN_NAMES | _OF_MATH
    return _NONE


def _symbols(source: str) -> symtable.SymbolTable:
    tree = syntax_tree(source)
    if any(isinstance(node, _COMPREHENSIONS) for node in ast.walk(tree)):
        source = ast.unparse(ast.fix_missing_locations(_Scopes().visit(tree)))
    with quiet_parser():
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


def _keeps_nothing(node: ast.stmt) -> bool:
    """Return whether a statement defines a function without memory, or a value that never changes."""
    if isinstance(node, ast.Assign):
        return all(isinstance(part, (*_OF_NUMBERS, ast.Tuple, ast.expr_context)) for part in ast.walk(node.value))
    if not isinstance(node, ast.FunctionDef) or node.decorator_list:
        return False
    defaults = [*node.args.defaults, *filter(None, node.args.kw_defaults)]
    is_bound = any(isinstance(part, (ast.Global, ast.Nonlocal)) for part in ast.walk(node))
    return not is_bound and all(isinstance(default, ast.Constant) for default in defaults)


def _is_number(node: ast.expr) -> bool:
    return all(
        isinstance(part, _OF_NUMBERS) and not (isinstance(part, ast.Constant) and isinstance(part.value, (str, bytes)))
        for part in ast.walk(node)
    )


def _is_text(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
