"""
Translates classes of tests, of unittest or pytest, into statements.

A method that only calls the usual assert methods becomes plain asserts. Every other method runs as unittest runs it,
with the program.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Sequence


_FIXTURES = ("setUp", "tearDown", "setUpClass", "tearDownClass", "setup_method", "teardown_method", "setup_class")
_Translation = Callable[..., str]
_METHODS: dict[str, _Translation] = {
    **{name: lambda a, b: f"assert {a} == {b}" for name in ("assertEqual", "assertEquals", "assertListEqual")},
    **{name: lambda a, b: f"assert {a} == {b}" for name in ("assertDictEqual", "assertTupleEqual", "assertSetEqual")},
    **{name: lambda a, b: f"assert {a} == {b}" for name in ("assertMultiLineEqual", "assertSequenceEqual")},
    "assertNotEqual": lambda a, b: f"assert {a} != {b}",
    "assertTrue": lambda a: f"assert {a}",
    "assertFalse": lambda a: f"assert not {a}",
    "assertIn": lambda a, b: f"assert {a} in {b}",
    "assertNotIn": lambda a, b: f"assert {a} not in {b}",
    "assertIsNone": lambda a: f"assert {a} is None",
    "assertIsNotNone": lambda a: f"assert {a} is not None",
    "assertGreater": lambda a, b: f"assert {a} > {b}",
    "assertGreaterEqual": lambda a, b: f"assert {a} >= {b}",
    "assertLess": lambda a, b: f"assert {a} < {b}",
    "assertLessEqual": lambda a, b: f"assert {a} <= {b}",
    "assertIsInstance": lambda a, b: f"assert isinstance({a}, {b})",
    "assertCountEqual": lambda a, b: f"assert sorted({a}) == sorted({b})",
    "assertAlmostEqual": lambda a, b: f"assert math.isclose({a}, {b}, rel_tol=0, abs_tol=5e-08)",
}
_NUM_ARGUMENTS = dict.fromkeys(("assertTrue", "assertFalse", "assertIsNone", "assertIsNotNone"), 1)


class _NotPlain(Exception):
    """Raised for a method that does more than assert."""


def statements_of_class(node: ast.ClassDef, tests: Sequence[ast.FunctionDef]) -> tuple[list[ast.stmt], list[str]]:
    """Return what the tests of a class need before them, and one statement for each test."""
    is_case = any(ast.unparse(base).endswith("TestCase") for base in node.bases)
    has_fixtures = any(isinstance(part, ast.FunctionDef) and part.name in _FIXTURES for part in node.body)
    others = [part for part in node.body if part not in tests and not _is_text(part)]
    setup: list[ast.stmt] = []
    statements = []
    for test in tests:
        try:
            if has_fixtures or others or node.decorator_list or test.decorator_list:
                raise _NotPlain
            statements.append(_plain_statement(test))
        except _NotPlain:
            setup = [*ast.parse("import unittest").body, node]
            case = f"{node.name}({test.name!r})"
            run = f"unittest.TestSuite([{case}]).debug()" if is_case else _of_pytest(node, test)
            statements.append(run)
    return setup, statements


def _of_pytest(node: ast.ClassDef, test: ast.FunctionDef) -> str:
    """Return a statement that runs a test of a plain class, with the methods that pytest calls around it."""
    names = {part.name for part in node.body if isinstance(part, ast.FunctionDef)}
    lines = [f"_case = {node.name}()"]
    lines += ["_case.setup_class()"] if "setup_class" in names else []
    lines += ["_case.setup_method()"] if "setup_method" in names else []
    lines.append(f"_case.{test.name}()")
    lines += ["_case.teardown_method()"] if "teardown_method" in names else []
    return "\n".join(lines)


def _plain_statement(test: ast.FunctionDef) -> str:
    """Return a test method as asserts, in a function unless it is a single one."""
    body = [_plain(node) for node in test.body if not _is_text(node)]
    if len(body) == 1 and isinstance(body[0], ast.Assert):
        return ast.unparse(body[0])
    name = f"_{test.name}"
    function = ast.parse(f"def {name}():\n    pass\n{name}()")
    assert isinstance(function.body[0], ast.FunctionDef)
    function.body[0].body = body or [ast.Pass()]
    imports = "import math\n" if any("math.isclose" in ast.unparse(node) for node in body) else ""
    return imports + ast.unparse(function)


def _plain(node: ast.stmt) -> ast.stmt:
    """Return a statement without `self`."""
    match node:
        case ast.Expr(value=ast.Call(func=ast.Attribute(value=ast.Name(id="self"), attr=name), keywords=[]) as call):
            count = _NUM_ARGUMENTS.get(name, 2)
            if name not in _METHODS or not count <= len(call.args) <= count + 1 or _uses_self(call.args):
                raise _NotPlain
            if name == "assertAlmostEqual" and len(call.args) > count:
                raise _NotPlain
            operands = [_operand(argument) for argument in call.args[:count]]
            return ast.parse(_METHODS[name](*operands)).body[0]
        case ast.With(items=[ast.withitem(context_expr=ast.Call() as context, optional_vars=None)]):
            return _plain_with(node, context)
    if _uses_self([node]) or any(isinstance(part, (ast.Return, ast.Yield)) for part in ast.walk(node)):
        raise _NotPlain
    return node


def _plain_with(node: ast.With, context: ast.Call) -> ast.stmt:
    """Return `with self.assertRaises(KIND): ...` without unittest."""
    match context:
        case ast.Call(func=ast.Attribute(value=ast.Name(id="self"), attr="assertRaises"), args=[kind], keywords=[]):
            text = f"try: pass\nexcept {ast.unparse(kind)}: pass\nelse: raise AssertionError('not raised')"
            (attempt,) = ast.parse(text).body
            assert isinstance(attempt, ast.Try)
            attempt.body = [_plain(part) for part in node.body]
            return attempt
    raise _NotPlain


def _operand(node: ast.expr) -> str:
    text = ast.unparse(node)
    return text if isinstance(node, (ast.Name, ast.Constant, ast.Call, ast.List, ast.Dict, ast.Set)) else f"({text})"


def _uses_self(nodes: Sequence[ast.AST]) -> bool:
    return any(isinstance(part, ast.Name) and part.id == "self" for node in nodes for part in ast.walk(node))


def _is_text(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
