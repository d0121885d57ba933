"""
Translates classes of tests, of unittest or pytest, into statements.

A method that only calls the usual assert methods becomes plain asserts. Every other method runs as unittest runs it,
with the program.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping, Sequence

from stepcoder_trl.executor.verdict.untranslatable import UntranslatableError
from stepcoder_trl.parsing import expression_tree, syntax_tree


def _same_items(a: str, b: str) -> str:
    """Return a comparison without regard to order. `sorted` does for numbers and texts, not for any items."""
    for text in (a, b):
        try:
            kinds = {type(item) for item in ast.literal_eval(expression_tree(text))}
        except (ValueError, TypeError, SyntaxError):
            continue
        if kinds in ({int}, {str}):
            return f"sorted({a}) == sorted({b})"
    return f"_same_items_({a}, {b})"


def _almost(a: str, b: str) -> str:
    """Return a comparison to seven places. With a number it can be evaluated outside of every process."""
    for text in (a, b):
        try:
            if type(ast.literal_eval(expression_tree(text))) in (int, float):
                return f"_isclose_({a}, {b}, rel_tol=0, abs_tol=5e-08)"
        except (ValueError, TypeError, SyntaxError):
            continue
    return f"_almost_({a}, {b})"


_PLAIN_BASES = {"object", "ABC", "abc.ABC"}
_Translation = Callable[..., str]
_METHODS: dict[str, _Translation] = {
    **{name: lambda a, b: f"assert {a} == {b}" for name in ("assertEqual", "assertEquals", "assertListEqual")},
    **{name: lambda a, b: f"assert {a} == {b}" for name in ("assertDictEqual", "assertTupleEqual", "assertSetEqual")},
    "assertMultiLineEqual": lambda a, b: f"assert {a} == {b}",
    "assertSequenceEqual": lambda a, b: f"assert _same_sequence_({a}, {b})",
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
    "assertCountEqual": lambda a, b: f"assert {_same_items(a, b)}",
    "assertAlmostEqual": lambda a, b: f"assert {_almost(a, b)}",
}
_NUM_ARGUMENTS = dict.fromkeys(("assertTrue", "assertFalse", "assertIsNone", "assertIsNotNone"), 1)


class _NotPlain(Exception):
    """Raised for a method that does more than assert."""


def statements_of_class(
    node: ast.ClassDef, tests: Sequence[ast.FunctionDef], classes: Mapping[str, ast.ClassDef]
) -> tuple[list[ast.stmt], list[str]]:
    """
    Return what the tests of a class need before them, and one statement for each test.

    `classes` are those of the module. The class may be derived from them.
    """
    lineage = _lineage(node, classes)
    bases = {ast.unparse(base) for each in lineage for base in each.bases}
    is_case = any(base.endswith("TestCase") for base in bases)
    if unknown := sorted(base for base in bases - classes.keys() - _PLAIN_BASES if not base.endswith("TestCase")):
        raise UntranslatableError(f"the class `{node.name}` is derived from `{unknown[0]}`, which is not known")
    others = [part for part in node.body if part not in tests and not _is_text(part)]
    setup: list[ast.stmt] = []
    statements = []
    for test in tests:
        _refuse_fixtures(node, test)
        try:
            if others or len(lineage) > 1 or node.decorator_list or test.decorator_list:
                raise _NotPlain
            statements.append(_plain_statement(test))
        except _NotPlain:
            setup = [*syntax_tree("import unittest").body, node]
            case = f"{node.name}({test.name!r})"
            run = f"unittest.TestSuite([{case}]).debug()" if is_case else _of_pytest(lineage, test)
            statements.append(run)
    return setup, statements


def _lineage(node: ast.ClassDef, classes: Mapping[str, ast.ClassDef]) -> list[ast.ClassDef]:
    """Return a class and those of the module from which it is derived. Each comes once, also if it names itself."""
    found = [node]
    for each in found:
        bases = (classes[base.id] for base in each.bases if isinstance(base, ast.Name) and base.id in classes)
        found += [base for base in bases if base.name not in {known.name for known in found}]
    return found


def _refuse_fixtures(node: ast.ClassDef, test: ast.FunctionDef) -> None:
    """Refuse a method with more arguments than `self`, unless a decorator may give them."""
    kinds = [ast.unparse(decorator) for decorator in test.decorator_list]
    given = test.args
    arguments = [*given.posonlyargs, *given.args, *given.kwonlyargs][0 if "staticmethod" in kinds else 1 :]
    if arguments and not set(kinds) - {"staticmethod", "classmethod"}:
        name = arguments[0].arg
        raise UntranslatableError(f"the test `{node.name}.{test.name}` needs the fixture `{name}`")


def _of_pytest(lineage: Sequence[ast.ClassDef], test: ast.FunctionDef) -> str:
    """Return a statement that runs a test of a plain class, with the methods that pytest calls around it."""
    parts = [part for node in reversed(lineage) for part in node.body]
    methods = {part.name: part for part in parts if isinstance(part, ast.FunctionDef)}
    before = [name for name in ("setup_class", "setup_method") if name in methods]
    after = [name for name in ("teardown_method",) if name in methods]
    calls = [_call_around(methods[name], test) for name in before]
    calls.append(f"_case.{test.name}()")
    calls += [_call_around(methods[name], test) for name in after]
    return "\n".join([f"_case = {lineage[0].name}()", *calls])


def _call_around(method: ast.FunctionDef, test: ast.FunctionDef) -> str:
    """Return a call of a method that runs before or after a test. It may take the test."""
    is_static = any(ast.unparse(decorator) == "staticmethod" for decorator in method.decorator_list)
    takes_test = len(method.args.args) > (0 if is_static else 1)
    return f"_case.{method.name}({f'_case.{test.name}' if takes_test else ''})"


def _plain_statement(test: ast.FunctionDef) -> str:
    """Return a test method as asserts, in a function unless it is a single one."""
    body = [_plain(node) for node in test.body if not _is_text(node)]
    if len(body) == 1 and isinstance(body[0], ast.Assert):
        return ast.unparse(body[0])
    name = f"_{test.name}"
    function = syntax_tree(f"def {name}():\n    pass\n{name}()")
    assert isinstance(function.body[0], ast.FunctionDef)
    function.body[0].body = body or [ast.Pass()]
    return ast.unparse(function)


def _plain(node: ast.stmt) -> ast.stmt:
    """Return a statement without `self`."""
    match node:
        case ast.Expr(value=ast.Call(func=ast.Attribute(value=ast.Name(id="self"), attr=name), keywords=[]) as call):
            count = _NUM_ARGUMENTS.get(name, 2)
            if any(isinstance(argument, ast.Starred) for argument in call.args):
                raise _NotPlain
            if name not in _METHODS or not count <= len(call.args) <= count + 1 or _uses_self(call.args):
                raise _NotPlain
            if name == "assertAlmostEqual" and len(call.args) > count:
                raise _NotPlain
            operands = [_operand(argument) for argument in call.args[:count]]
            return syntax_tree(_METHODS[name](*operands)).body[0]
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
            (attempt,) = syntax_tree(text).body
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
