"""Finds the tests of a test module."""

from __future__ import annotations

import ast
from collections.abc import Iterable
from typing import NamedTuple

from stepcoder_trl.executor.verdict.missed_tests import (
    RUNNERS,
    refuse_additions,
    refuse_generator,
    refuse_missed_tests,
)
from stepcoder_trl.executor.verdict.untranslatable import UntranslatableError


_Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
_SKIPS = ("skipIf", "skipUnless", "skipTest", "SkipTest", "expectedFailure")


class Collected(NamedTuple):
    """Statements of a module: its tests in order, and what they need."""

    setup: list[ast.stmt]
    tests: list[ast.FunctionDef | ast.ClassDef]


def collected(tree: ast.Module) -> Collected:
    """
    Return the tests of a module, without those that are skipped.

    Raises:
        UntranslatableError: If there are others which cannot run as statements, or all are skipped.
    """
    for part in ast.walk(tree):
        name = part.id if isinstance(part, ast.Name) else part.attr if isinstance(part, ast.Attribute) else ""
        if name in _SKIPS:
            raise UntranslatableError(f"it uses `{name}`")
        refuse_additions(part)
    found = Collected([], [])
    num_skipped = 0
    for node in _without_hidden(tree.body):
        if isinstance(node, ast.FunctionDef) and _is_test(node):
            refuse_generator(node)
            kept: ast.FunctionDef | ast.ClassDef | None = None if _is_skipped(node) else node
        elif isinstance(node, ast.ClassDef) and _is_test(node):
            kept = _without_skipped(node)
        else:
            if not (_is_runner(node) or isinstance(node, ast.Pass)):
                refuse_missed_tests(node)
                found.setup.append(node)
            continue
        num_skipped += kept is not node
        found.tests.extend([kept] if kept is not None else [])
    _refuse_inherited_tests(tree)
    if num_skipped and not found.tests:
        raise UntranslatableError("all its tests are skipped")
    return found


def tests_of(node: ast.ClassDef) -> list[ast.FunctionDef]:
    """Return the tests of a class."""
    return [part for part in node.body if isinstance(part, ast.FunctionDef) and part.name.startswith("test")]


def _refuse_inherited_tests(tree: ast.Module) -> None:
    classes = {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}
    for node in classes.values():
        if any(tests_of(classes[base.id]) for base in node.bases if isinstance(base, ast.Name) and base.id in classes):
            raise UntranslatableError(f"the class `{node.name}` inherits tests")


def _is_test(node: ast.AST) -> bool:
    return (isinstance(node, _FUNCTIONS) and node.name.startswith("test")) or (
        isinstance(node, ast.ClassDef) and bool(tests_of(node))
    )


def _without_hidden(body: Iterable[ast.stmt]) -> list[ast.stmt]:
    """Return statements without tests that a later one of the same name replaces."""
    tests = [node for node in body if isinstance(node, _Definition) and _is_test(node)]
    last = {node.name: node for node in tests}
    return [node for node in body if node not in tests or node in last.values()]


def _without_skipped(node: ast.ClassDef) -> ast.ClassDef | None:
    """Return a class of tests without those that are skipped or replaced, or `None`."""
    body = _without_hidden(node.body)
    tests = [part for part in body if isinstance(part, ast.FunctionDef) and _is_test(part)]
    for part in body:
        if part not in tests:
            refuse_missed_tests(part)
    for test in tests:
        refuse_generator(test)
    skipped = [test for test in tests if _is_skipped(test)]
    if _is_skipped(node) or len(skipped) == len(tests):
        return None
    body = [part for part in body if part not in skipped]
    return node if body == node.body else ast.ClassDef(**{**dict(ast.iter_fields(node)), "body": body})


def _is_skipped(node: ast.FunctionDef | ast.ClassDef) -> bool:
    calls = (each.func if isinstance(each, ast.Call) else each for each in node.decorator_list)
    return any(ast.unparse(call) in ("unittest.skip", "skip") for call in calls)


def _is_runner(node: ast.stmt) -> bool:
    """Return whether a statement runs the tests: `if __name__ == "__main__": ...`, or `unittest.main()`."""
    match node:
        case ast.If(test=ast.Compare() as test, orelse=[]):
            is_main = ast.unparse(test) in ("__name__ == '__main__'", "'__main__' == __name__")
            return is_main and not any(map(_is_test, ast.walk(node)))
        case ast.Expr(value=ast.Call(func=function)):
            return ast.unparse(function) in RUNNERS
    return False
