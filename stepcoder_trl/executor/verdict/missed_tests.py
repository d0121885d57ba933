"""
Refuses a test module of which a test would be left out.

Only tests that stand as `def` in the module, or in a class of it, are run. So code that may make others is refused: an
assignment to the name of a test, unless its value is plain data such as `test_cases = [(1, 2)]`.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

from stepcoder_trl.executor.verdict.asserts import BUILTIN_NAMES
from stepcoder_trl.executor.verdict.untranslatable import UntranslatableError


RUNNERS = ("unittest.main", "pytest.main", "unittest.TextTestRunner")
_FIXTURES = (
    *("setup_module", "teardown_module", "setUpModule", "tearDownModule", "setup_function", "teardown_function"),
    *("load_tests", "asyncSetUp", "asyncTearDown"),
)
_NAMESPACES = ("globals", "vars", "locals")
_CHANGES = ("update", "setdefault", "__setitem__")
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
_DATA = (
    *(ast.Constant, ast.JoinedStr, ast.List, ast.Tuple, ast.Set, ast.Dict, ast.BinOp, ast.UnaryOp, ast.Compare),
    *(ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp),
)
# Builtins that may return a function, of the other ones none does.
_MAY_RETURN_FUNCTION = ("getattr", "next", "eval", "min", "max", "type", "staticmethod", "classmethod", "vars")
_DATA_LIBRARIES = (
    "np",
    "numpy",
    "math",
    "random",
    "string",
    "datetime",
    "json",
    "collections",
    "itertools",
    "decimal",
)


def refuse_missed_tests(node: ast.AST) -> None:
    """Refuse code that defines tests, or functions that run around tests, and is no test itself."""
    match node:
        case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
            if name.startswith("test") or name == "runTest":
                raise UntranslatableError(f"the test `{name}` is asynchronous, or inside a block or another class")
            if name in _FIXTURES:
                raise UntranslatableError(f"it uses `{name}`")
            return  # what a function defines is no test
        case ast.If(test=condition) if "__name__" in ast.unparse(condition):
            raise UntranslatableError("it uses `__name__` in a way that is not known")
        case ast.Call(func=function) if ast.unparse(function) in RUNNERS:
            raise UntranslatableError(f"it calls `{ast.unparse(function)}` in a way that is not known")
        case ast.Call(func=ast.Name(id="setattr" | "exec" as name)):
            raise UntranslatableError(f"it may add tests by `{name}`")
        case ast.Call(func=ast.Name(id="type"), args=[_, _, _]):
            raise UntranslatableError("it may add tests by `type`")
    _refuse_bound_tests(node)
    for part in ast.iter_child_nodes(node):
        refuse_missed_tests(part)


def _refuse_bound_tests(node: ast.AST) -> None:
    """Refuse a statement that binds the name of a test, or deletes it."""
    match node:
        case ast.Assign(targets=targets, value=value):
            for target in targets:
                _refuse_assigned_tests(target, value)
        case ast.AnnAssign(target=target, value=ast.expr() as value) | ast.NamedExpr(target=target, value=value):
            _refuse_assigned_tests(target, value)
        case ast.Delete() | ast.ImportFrom():
            for name in _names_in(node):
                if name.startswith("test_"):
                    raise UntranslatableError(f"it imports or deletes the test `{name}`")


def refuse_additions(node: ast.AST) -> None:
    """Refuse code, wherever it stands, that may add a test by its name as a text: `globals()["test_a"] = f`."""
    match node:
        case ast.Subscript(value=ast.Call(func=ast.Name(id=name)), ctx=ast.Store()) if name in _NAMESPACES:
            raise UntranslatableError(f"it may add tests by `{name}`")
        case ast.Call(func=ast.Attribute(value=ast.Call(func=ast.Name(id=name)), attr=change)):
            if name in _NAMESPACES and change in _CHANGES:
                raise UntranslatableError(f"it may add tests by `{name}`")
        case ast.Call(func=ast.Name(id="setattr"), args=[_, attribute, *_]):
            if not (isinstance(attribute, ast.Constant) and not str(attribute.value).startswith("test")):
                raise UntranslatableError("it may add tests by `setattr`")


def refuse_generator(test: ast.FunctionDef) -> None:
    """Refuse a test that is a generator: a call of it runs nothing."""
    if any(isinstance(part, (ast.Yield, ast.YieldFrom)) for part in _own_parts(test)):
        raise UntranslatableError(f"the test `{test.name}` is a generator")


def _own_parts(node: ast.AST) -> Iterator[ast.AST]:
    """Yield the parts of a function, without those of functions inside."""
    for part in ast.iter_child_nodes(node):
        yield part
        if not isinstance(part, (*_FUNCTIONS, ast.ClassDef, ast.Lambda)):
            yield from _own_parts(part)


def _refuse_assigned_tests(target: ast.expr, value: ast.expr) -> None:
    if isinstance(target, ast.Name) and target.id.startswith("test") and not _is_data(value):
        kind = "is a lambda" if isinstance(value, ast.Lambda) else "is assigned, and may be a function"
        raise UntranslatableError(f"the test `{target.id}` {kind}. Write tests as `def`")
    if isinstance(target, (ast.Tuple, ast.List)):
        parts = value.elts if isinstance(value, (ast.Tuple, ast.List)) else []
        for number, each in enumerate(target.elts):
            _refuse_assigned_tests(each, parts[number] if len(parts) == len(target.elts) else value)


def _is_data(value: ast.expr) -> bool:
    """Return whether the value of an expression is no function, as far as its text tells."""
    match value:
        case ast.BoolOp(values=parts):
            return all(map(_is_data, parts))
        case ast.IfExp(body=body, orelse=other):
            return _is_data(body) and _is_data(other)
        case ast.Call(func=ast.Name(id=name)):
            return name in BUILTIN_NAMES and name not in _MAY_RETURN_FUNCTION
        case ast.Call(func=ast.Attribute(value=owner)):
            root = owner
            while isinstance(root, ast.Attribute):
                root = root.value
            return root.id in _DATA_LIBRARIES if isinstance(root, ast.Name) else _is_data(root)
    return isinstance(value, _DATA)


def _names_in(node: ast.Delete | ast.ImportFrom) -> list[str]:
    if isinstance(node, ast.ImportFrom):
        return [alias.asname or alias.name for alias in node.names]
    return [target.id for target in node.targets if isinstance(target, ast.Name)]
