"""
Translates test modules, of pytest or unittest, into asserts.

Each test function becomes one statement that needs neither library, so that it can be judged like any other assert:
outside of the program's process where it only calls functions of the program. What uses fixtures is refused.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from stepcoder_trl.executor.verdict.asserts import names_in
from stepcoder_trl.executor.verdict.case_classes import statements_of_class
from stepcoder_trl.executor.verdict.module_names import names_bound_in, with_names_of_program
from stepcoder_trl.executor.verdict.module_tests import collected, tests_of
from stepcoder_trl.executor.verdict.untranslatable import UntranslatableError
from stepcoder_trl.parsing import expression_tree, syntax_tree


class TranslatedModule(NamedTuple):
    """Test module as asserts."""

    setup: str
    asserts: list[str]


_MARKS_WITH_MEANING = ("asyncio", "parametrize", "skip", "skipif", "usefixtures", "xfail")
_ISCLOSE = """
def _isclose_(actual, expected, rel_tol, abs_tol):
    if actual == expected or abs(expected) == float("inf"):
        return actual == expected
    try:
        return abs(actual - expected) <= max(rel_tol * abs(expected), abs_tol)
    except TypeError:
        return False
"""
_APPROX = f"""{_ISCLOSE}
def _approx_(actual, expected, rel=1e-06, abs_=1e-12):
    actual, expected = (each.tolist() if hasattr(each, "tolist") else each for each in (actual, expected))
    if isinstance(expected, dict):
        pairs = isinstance(actual, dict) and len(actual) == len(expected)
        return pairs and all(key in actual and _approx_(actual[key], expected[key], rel, abs_) for key in expected)
    if isinstance(expected, (list, tuple)):
        pairs = isinstance(actual, (list, tuple)) and len(actual) == len(expected)
        return pairs and all(_approx_(a, b, rel, abs_) for a, b in zip(actual, expected))
    return actual == expected if isinstance(expected, str) else _isclose_(actual, expected, rel, abs_)
"""
_SAME_ITEMS = """
def _same_items_(first, second):
    import collections
    first, rest = list(first), list(second)
    try:
        return collections.Counter(first) == collections.Counter(rest)
    except TypeError:
        pass
    for item in first:
        if item not in rest:
            return False
        rest.remove(item)
    return not rest
"""
_SAME_SEQUENCE = """
def _same_sequence_(first, second):
    return len(first) == len(second) and all(first[place] == second[place] for place in range(len(first)))
"""
_ALMOST = """
def _almost_(first, second):
    return first == second or abs(first - second) < 5e-08
"""
# What statements need that call these names. Tests do not write names with underscores around them.
_HELPERS = {
    "_almost_": _ALMOST,
    "_approx_": _APPROX,
    "_isclose_": _ISCLOSE,
    "_same_items_": _SAME_ITEMS,
    "_same_sequence_": _SAME_SEQUENCE,
}


def asserts_of_module(code: str) -> TranslatedModule:
    """
    Return the tests of a module, one statement each, and the code that they need.

    Raises:
        SyntaxError: If it is not Python.
        UntranslatableError: If a test needs a fixture, or something else of pytest that is not known.
    """
    tree = syntax_tree(code)
    try:
        return _translated(tree)
    except SyntaxError as error:
        raise UntranslatableError(f"its tests are no statements of their own ({error.msg})") from None


def _translated(tree: ast.Module) -> TranslatedModule:
    tree = with_names_of_program(tree)
    tree = ast.fix_missing_locations(_Pytest().visit(tree))
    setup, tests = collected(tree)
    classes = {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}
    asserts: list[str] = []
    for node in tests:
        if isinstance(node, ast.FunctionDef):
            asserts += _statements_of_function(node)
        else:
            own_setup, statements = statements_of_class(node, tests_of(node), classes)
            setup += own_setup
            asserts += statements
    used = {name for part in (*setup, *map(syntax_tree, asserts)) for name in names_in(part)}
    if "pytest" in used:
        raise UntranslatableError("it uses pytest in a way that is not known")
    setup = [node for node in setup if not _imports_unittest(node) or names_bound_in([node]) & used]
    helpers = [text for name, text in _HELPERS.items() if name in used]
    return TranslatedModule("".join([ast.unparse(ast.Module(setup, [])), *helpers]), asserts)


def _imports_unittest(node: ast.stmt) -> bool:
    """Return whether a statement imports unittest, which plain asserts do not need, and the examiner does not have."""
    match node:
        case ast.Import(names=[ast.alias(name="unittest")]) | ast.ImportFrom(module="unittest"):
            return True
    return False


# Functions of pytest


def _statements_of_function(function: ast.FunctionDef) -> Iterator[str]:
    """Yield a statement for each set of parameters of a test function."""
    rows: list[dict[str, ast.expr]] = [{}]
    for decorator in function.decorator_list:
        rows = [{**row, **more} for row in rows for more in _parameters(decorator)]
    arguments = function.args
    names = [argument.arg for argument in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)]
    for row in rows:
        if not row.keys() <= set(names):
            raise UntranslatableError(f"the test `{function.name}` does not take the parameters that it is given")
        missing = [name for name in names if name not in row]
        if missing:
            raise UntranslatableError(f"the test `{function.name}` needs the fixture `{missing[0]}`")
        yield _statement(function, row)


def _parameters(decorator: ast.expr) -> list[dict[str, ast.expr]]:
    """Return the sets of parameters of `pytest.mark.parametrize`. Marks without meaning here have one empty set."""
    call = decorator if isinstance(decorator, ast.Call) else None
    mark = ast.unparse(call.func if call is not None else decorator)
    if mark == "pytest.mark.parametrize" and call is not None and len(call.args) == 2:
        if any(word.arg != "ids" for word in call.keywords):
            raise UntranslatableError(f"it uses `@{ast.unparse(decorator)[:80]}`")
        names, values = _names(call.args[0]), call.args[1]
        if isinstance(values, (ast.List, ast.Tuple)):
            return [dict(zip(names, _entries(value, len(names)), strict=True)) for value in values.elts]
    elif mark.startswith("pytest.mark.") and mark.removeprefix("pytest.mark.") not in _MARKS_WITH_MEANING:
        return [{}]
    raise UntranslatableError(f"it uses `@{ast.unparse(decorator)[:80]}`")


def _names(node: ast.expr) -> list[str]:
    try:
        value = ast.literal_eval(node)
    except (ValueError, TypeError):
        raise UntranslatableError("the names of parameters are not literals") from None
    return [name.strip() for name in value.split(",") if name.strip()] if isinstance(value, str) else list(value)


def _entries(node: ast.expr, count: int) -> Sequence[ast.expr]:
    if isinstance(node, ast.Call) and ast.unparse(node.func) == "pytest.param":
        if any(word.arg != "id" for word in node.keywords):
            raise UntranslatableError(f"it uses `{ast.unparse(node)[:80]}`")
        entries: Sequence[ast.expr] = node.args
    else:
        entries = node.elts if count > 1 and isinstance(node, (ast.Tuple, ast.List)) else [node]
    if len(entries) != count or any(isinstance(entry, ast.Starred) for entry in entries):
        raise UntranslatableError("a set of parameters has the wrong number of values")
    return entries


def _statement(function: ast.FunctionDef, values: Mapping[str, ast.expr]) -> str:
    """Return a test as one statement. One that only asserts needs no function around it."""
    body = [node for node in function.body if not _is_text(node)]
    if all(isinstance(node, (ast.Assert, ast.Pass)) for node in body) and _can_be_inserted(values, body):
        nodes = [_Values(values).visit(syntax_tree(ast.unparse(node)).body[0]) for node in body]
        return "\n".join(map(ast.unparse, nodes)) or "pass"
    plain = syntax_tree(ast.unparse(function)).body[0]
    assert isinstance(plain, ast.FunctionDef)
    plain.decorator_list = []
    arguments = [ast.keyword(name, value) for name, value in values.items()]
    call = ast.Expr(ast.Call(ast.Name(function.name), [], arguments))
    return ast.unparse(ast.Module([plain, call], []))


def _can_be_inserted(values: Mapping[str, ast.expr], body: list[ast.stmt]) -> bool:
    """Return whether parameters can be replaced by their values: no name is bound, no object is used twice."""
    if not values:
        return True
    uses = [part.id for node in body for part in ast.walk(node) if isinstance(part, ast.Name)]
    objects = [name for name, value in values.items() if not isinstance(value, ast.Constant)]
    return not names_bound_in(body) and all(uses.count(name) <= 1 for name in objects)


def _is_text(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


class _Values(ast.NodeTransformer):
    def __init__(self, values: Mapping[str, ast.expr]) -> None:
        self.values = values

    def visit_Name(self, node: ast.Name) -> ast.expr:
        return self.values.get(node.id, node)


class _Pytest(ast.NodeTransformer):
    """Replace `pytest.raises`, `pytest.approx` and `pytest.fail` by plain Python."""

    def visit_With(self, node: ast.With) -> ast.AST | list[ast.stmt]:
        self.generic_visit(node)
        if len(node.items) != 1 or not _is_call_of(node.items[0].context_expr, "pytest.raises"):
            return node
        (item,) = node.items
        return raises(item, node.body)

    def visit_Expr(self, node: ast.Expr) -> ast.AST:
        self.generic_visit(node)
        if isinstance(node.value, ast.Call) and _is_call_of(node.value, "pytest.fail"):
            return syntax_tree("raise AssertionError('failed')").body[0]
        return node

    def visit_Compare(self, node: ast.Compare) -> ast.expr:
        self.generic_visit(node)
        if len(node.ops) != 1 or not isinstance(node.ops[0], (ast.Eq, ast.NotEq)):
            return node
        sides = [node.left, node.comparators[0]]
        if not any(_is_call_of(side, "pytest.approx") for side in sides):
            return node
        actual, approx = sides if _is_call_of(sides[1], "pytest.approx") else sides[::-1]
        assert isinstance(approx, ast.Call)
        close = _close(actual, approx)
        return ast.UnaryOp(ast.Not(), close) if isinstance(node.ops[0], ast.NotEq) else close


def _close(actual: ast.expr, approx: ast.Call) -> ast.expr:
    """Return a comparison with the tolerances of `pytest.approx`."""
    words = dict(zip(("rel", "abs"), approx.args[1:], strict=False))
    words |= {word.arg: word.value for word in approx.keywords if word.arg in ("rel", "abs")}
    given = {name: ast.unparse(value) for name, value in words.items() if ast.unparse(value) != "None"}
    given = {"rel": "0" if "abs" in given else "1e-06", "abs": "1e-12", **given}  # `abs` alone stands alone
    if any(word.arg == "nan_ok" for word in approx.keywords) or not approx.args:
        raise UntranslatableError("it uses `pytest.approx` in a way that is not known")
    expected = approx.args[0]
    try:
        is_number = isinstance(ast.literal_eval(expected), (int, float))
    except (ValueError, TypeError):
        is_number = False
    left, right = ast.unparse(actual), ast.unparse(expected)
    text = f"_approx_({left}, {right}, {given['rel']}, {given['abs']})"
    if is_number:
        text = f"_isclose_({left}, {right}, rel_tol={given['rel']}, abs_tol={given['abs']})"
    return expression_tree(text)


def raises(item: ast.withitem, body: list[ast.stmt]) -> list[ast.stmt]:
    """Return statements that fail unless the body raises the exception of `raises(KIND, match=...) as NAME`."""
    call = item.context_expr
    assert isinstance(call, ast.Call)
    words = {word.arg: word.value for word in call.keywords}
    if len(call.args) != 1 or set(words) - {"match"}:
        raise UntranslatableError("it uses `raises` in a way that is not known")
    name = item.optional_vars.id if isinstance(item.optional_vars, ast.Name) else "_caught"
    kind = ast.unparse(call.args[0])
    caught = "types.SimpleNamespace(type=type(_raised), value=_raised, exception=_raised)"
    handler = [f"    {name} = {caught}"] if item.optional_vars else []
    if "match" in words:
        handler.append(f"    assert re.search({ast.unparse(words['match'])}, str(_raised))")
    lines = ["try:", "    pass", f"except {kind} as _raised:", *(handler or ["    pass"]), "else:"]
    lines.append(f"    raise AssertionError({f'did not raise {kind}'!r})")
    (attempt,) = syntax_tree("\n".join(lines)).body
    assert isinstance(attempt, ast.Try)
    attempt.body = body
    imports = ["import re"] if "match" in words else []
    imports += ["import types"] if item.optional_vars else []
    return [*syntax_tree("\n".join(imports)).body, attempt]


def _is_call_of(node: ast.AST, name: str) -> bool:
    return isinstance(node, ast.Call) and ast.unparse(node.func) == name
