"""Finds the tests of a test module, and refuses a module of which some would be left out."""

from __future__ import annotations

import ast
from typing import NamedTuple

from stepcoder_trl.executor.verdict.untranslatable import UntranslatableError


_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
_FIXTURES = (
    *("setup_module", "teardown_module", "setUpModule", "tearDownModule", "setup_function", "teardown_function"),
    *("load_tests", "asyncSetUp", "asyncTearDown"),
)
_SKIPS = ("skipIf", "skipUnless", "skipTest", "SkipTest", "expectedFailure")
_RUNNERS = ("unittest.main", "pytest.main", "unittest.TextTestRunner")


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
    found = Collected([], [])
    num_skipped = 0
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and _is_test(node):
            kept: ast.FunctionDef | ast.ClassDef | None = None if _is_skipped(node) else node
        elif isinstance(node, ast.ClassDef) and _is_test(node):
            kept = _without_skipped(node)
        else:
            if not (_is_runner(node) or isinstance(node, ast.Pass)):
                _refuse_missed_tests(node)
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


def _without_skipped(node: ast.ClassDef) -> ast.ClassDef | None:
    """Return a class of tests without those that are skipped, or `None`."""
    tests = tests_of(node)
    for part in node.body:
        if part not in tests:
            _refuse_missed_tests(part)
    skipped = [test for test in tests if _is_skipped(test)]
    if _is_skipped(node) or len(skipped) == len(tests):
        return None
    if not skipped:
        return node
    body = [part for part in node.body if part not in skipped]
    return ast.ClassDef(**{**dict(ast.iter_fields(node)), "body": body})


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
            return ast.unparse(function) in _RUNNERS
    return False


def _refuse_missed_tests(node: ast.AST) -> None:
    """Refuse code that defines tests, or functions that run around tests, and is no test itself."""
    match node:
        case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
            if name.startswith("test"):
                raise UntranslatableError(f"the test `{name}` is asynchronous, or inside a block or another class")
            if name in _FIXTURES:
                raise UntranslatableError(f"it uses `{name}`")
            return  # what a function defines is no test
        case ast.Assign(targets=[ast.Name(id=name)], value=ast.Lambda()) if name.startswith("test"):
            raise UntranslatableError(f"the test `{name}` is a lambda")
        case ast.If(test=condition) if "__name__" in ast.unparse(condition):
            raise UntranslatableError("it uses `__name__` in a way that is not known")
        case ast.Call(func=function) if ast.unparse(function) in _RUNNERS:
            raise UntranslatableError(f"it calls `{ast.unparse(function)}` in a way that is not known")
        case ast.Call(func=ast.Name(id="setattr")):
            raise UntranslatableError("it may add tests by `setattr`")
    for part in ast.iter_child_nodes(node):
        _refuse_missed_tests(part)
