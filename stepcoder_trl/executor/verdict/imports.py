"""Imports of tests: the names that they bind, and imports without names that are not used."""

from __future__ import annotations

import ast
import sys
from collections.abc import Callable, Collection


def names_from_imports(*trees: ast.AST) -> frozenset[str]:
    """Return the names that code gives to modules and their parts."""
    return frozenset(
        alias.asname or alias.name.partition(".")[0]
        for tree in trees
        for node in ast.walk(tree)
        if isinstance(node, (ast.Import, ast.ImportFrom))
        for alias in node.names
    )


def names_from_numpy(*trees: ast.AST) -> frozenset[str]:
    """Return the names that code gives to numpy and its parts."""
    names: set[str] = set()
    for node in (node for tree in trees for node in ast.walk(tree)):
        if isinstance(node, ast.Import):
            aliases = [alias for alias in node.names if alias.name.partition(".")[0] == "numpy"]
            names.update(alias.asname or "numpy" for alias in aliases)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "numpy":
            names.update(alias.asname or alias.name for alias in node.names)
    return frozenset(names)


def without_unused(node: ast.stmt, used: Collection[str]) -> ast.stmt:
    """Return an import without names of the standard library that no test uses. Other statements stay."""

    def is_kept(alias: ast.alias, module: str) -> bool:
        return _is_used(alias, used) or module.partition(".")[0] not in sys.stdlib_module_names

    return _with_names(node, is_kept)


def narrowed(node: ast.stmt, used: Collection[str]) -> ast.stmt:
    """Return an import without names that are not used. Other statements stay."""
    return _with_names(node, lambda alias, _: _is_used(alias, used))


def _is_used(alias: ast.alias, used: Collection[str]) -> bool:
    return alias.name == "*" or (alias.asname or alias.name).partition(".")[0] in used


def _with_names(node: ast.stmt, is_kept: Callable[[ast.alias, str], bool]) -> ast.stmt:
    """Return an import with the names that are kept, by name and module. A relative module begins with `.`."""
    match node:
        case ast.Import(names=aliases):
            return ast.Import([alias for alias in aliases if is_kept(alias, alias.name)])
        case ast.ImportFrom(module=module, names=aliases, level=level):
            name = "." * level + (module or "")
            return ast.ImportFrom(module, [alias for alias in aliases if is_kept(alias, name)], level)
    return node
