"""
Split `assert` statements into an expression that runs with the program, and a comparison that runs outside.

`assert f(2) == [1, 2]` is split into the expression `f(2)`, evaluated in the program's process, and a comparison of
its value with `[1, 2]`, evaluated here. So expected values never enter the program's process, and a custom `__eq__`
has no effect. An assert that cannot be split runs in the program's process and is marked untrusted.
"""

from __future__ import annotations

import ast
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from types import CodeType
from typing import Any

from stepcoder_trl.executor.verdict.compare import contains, python_equal
from stepcoder_trl.parsing import syntax_tree


# Evaluated outside on literals. A program may define a function of the same name: see `_Splitter.is_program`.
_BUILTINS: dict[str, Any] = {
    function.__name__: function
    for function in (
        *(abs, bool, bytes, complex, dict, float, frozenset, int, len, list, max, min),
        *(range, round, set, sorted, str, sum, tuple),
    )
}
_WRAPPERS = frozenset({"set", "list", "sorted", "tuple", "len", "str", "round", "frozenset", "dict", "sum", "bool"})
# Functions that are cheap on any value of the program, and so may run outside.
_SAFE_OUTSIDE = frozenset({"abs", "round", "float", "len", "bool"})
_COMPARISONS = (ast.Eq, ast.NotEq, ast.Is, ast.IsNot, ast.In, ast.NotIn, ast.Lt, ast.LtE, ast.Gt, ast.GtE)
_MAX_POWER = 10_000


@dataclass(frozen=True)
class Split:
    """
    Assert statement, split into expressions and a comparison.

    Attributes:
        expressions (`tuple[str, ...]`): Source of the expressions that run with the program, in order of evaluation.
        truth (`bool`): Whether only the truth value of the expression is needed.
    """

    expressions: tuple[str, ...]
    truth: bool
    _judgement: CodeType = field(repr=False)

    def holds(self, values: Sequence[Any]) -> bool:
        """
        Return whether the assert holds for the values that the program's process sent for `expressions`.

        Raises:
            Exception: Any exception of the comparison, e.g. TypeError for `None < 1`.
        """
        names = {f"_{index}": value for index, value in enumerate(values)}
        scope = {"__builtins__": {}, "_equal": python_equal, "_contains": contains, "math": math, **_BUILTINS, **names}
        return bool(eval(self._judgement, scope))


class _Unsplittable(Exception):
    pass


@lru_cache(maxsize=8192)
def split_assert(statement: str) -> Split | None:
    """
    Split an assert statement.

    Args:
        statement (`str`): Python source of one test.

    Returns:
        `Split` or `None`: `None` if the source is not a single assert, or its comparison cannot run outside.
    """
    try:
        body = syntax_tree(statement.strip()).body
        if len(body) != 1 or not isinstance(body[0], ast.Assert):
            return None
        return _split(body[0].test)
    except (SyntaxError, ValueError, RecursionError, MemoryError, _Unsplittable):
        return None


def _split(test: ast.expr) -> Split:
    negated = False
    expression = test
    while isinstance(expression, ast.UnaryOp) and isinstance(expression.op, ast.Not):
        negated, expression = not negated, expression.operand
    splitter = _Splitter(calls_program=any(_is_program_name(node) for node in ast.walk(test)))
    if splitter.is_program(expression):
        if isinstance(expression, ast.Call) and any(_calls_inside(argument) for argument in expression.args):
            raise _Unsplittable  # `assert same(f(1), [2])`: the expected value would enter the program's process
        judgement: ast.expr = ast.Name("_0", ast.Load())
        splitter.leaves.append(expression)
        truth = True
    else:
        judgement, truth = splitter.outside(expression), False
    if len(splitter.leaves) != 1:
        raise _Unsplittable  # with two, the program would supply its own expected value
    if negated:
        judgement = ast.UnaryOp(ast.Not(), judgement)
    tree = ast.fix_missing_locations(ast.Expression(judgement))
    code = compile(tree, "<judgement>", "eval")
    return Split(tuple(ast.unparse(leaf) for leaf in splitter.leaves), truth, code)


def _is_program_name(node: ast.AST) -> bool:
    return isinstance(node, ast.Name) and node.id not in _BUILTINS and node.id != "math"


def _calls_inside(node: ast.expr) -> bool:
    return any(
        isinstance(child, ast.Call) and any(map(_is_program_name, ast.walk(child.func))) for child in ast.walk(node)
    )


class _Splitter:
    """Replace the parts of an expression that need the program by the names `_0`, `_1`, ..."""

    def __init__(self, calls_program: bool) -> None:
        self.calls_program = calls_program
        self.leaves: list[ast.expr] = []

    def is_program(self, node: ast.expr) -> bool:
        """Return whether the expression starts at a name of the program, possibly in a wrapper such as `sorted`."""
        if isinstance(node, ast.Call):
            if _is_isclose(node):
                return False
            if isinstance(node.func, ast.Name) and node.func.id in _BUILTINS:
                if not self.calls_program:  # in `assert sum(1, 2) == 3`, `sum` must be the program's
                    return True
                wrapped, *others = node.args or [ast.Constant(None)]
                return (
                    node.func.id in _WRAPPERS
                    and self.is_program(wrapped)
                    and not any(map(_is_program_name, (n for other in others for n in ast.walk(other))))
                )
            return self.is_program(node.func)
        if isinstance(node, (ast.Attribute, ast.Subscript)):
            return self.is_program(node.value)
        return _is_program_name(node)

    def outside(self, node: ast.expr) -> ast.expr:
        """Return the expression to evaluate outside, with names in place of the leaves."""
        if self.is_program(node):
            self.leaves.append(node)
            return ast.Name(f"_{len(self.leaves) - 1}", ast.Load())
        if isinstance(node, ast.Constant):
            return node
        if isinstance(node, (ast.List, ast.Tuple, ast.Set)):
            elements = [self.outside(element) for element in node.elts]
            return ast.Set(elements) if isinstance(node, ast.Set) else type(node)(elements, ast.Load())
        if isinstance(node, ast.Dict):
            return ast.Dict(
                [None if key is None else self.outside(key) for key in node.keys],
                [self.outside(value) for value in node.values],
            )
        if isinstance(node, ast.UnaryOp):
            return ast.UnaryOp(node.op, self.outside(node.operand))
        if isinstance(node, ast.BinOp):
            return self._arithmetic(node)
        if isinstance(node, ast.Compare):
            return self._comparison(node)
        if isinstance(node, ast.Call):
            return self._call(node)
        if isinstance(node, ast.Attribute) and _is_math_constant(node):
            return node
        raise _Unsplittable

    def _arithmetic(self, node: ast.BinOp) -> ast.expr:
        before = len(self.leaves)
        left, right = self.outside(node.left), self.outside(node.right)
        if len(self.leaves) > before and not isinstance(node.op, (ast.Add, ast.Sub)):
            raise _Unsplittable  # in `f(1) * [0]`, the program may return 10**9
        if isinstance(node.op, (ast.Pow, ast.LShift)) and not _is_small(right):
            raise _Unsplittable
        return ast.BinOp(left, node.op, right)

    def _comparison(self, node: ast.Compare) -> ast.expr:
        if len(node.ops) != 1 or not isinstance(node.ops[0], _COMPARISONS):
            raise _Unsplittable
        operator = node.ops[0]
        left, right = self.outside(node.left), self.outside(node.comparators[0])
        if isinstance(operator, (ast.Eq, ast.NotEq)):
            return _negate_if(isinstance(operator, ast.NotEq), _named_call("_equal", left, right))
        if isinstance(operator, (ast.Is, ast.IsNot)):
            if not any(_is_singleton(side) for side in (left, right)):
                raise _Unsplittable  # an object loses its identity when it is sent to another process
            return ast.Compare(left, [operator], [right])
        if isinstance(operator, (ast.In, ast.NotIn)):
            return _negate_if(isinstance(operator, ast.NotIn), _named_call("_contains", right, left))
        return ast.Compare(left, [operator], [right])

    def _call(self, node: ast.Call) -> ast.expr:
        before = len(self.leaves)
        arguments = [self.outside(argument) for argument in node.args]
        keywords = [ast.keyword(keyword.arg, self.outside(keyword.value)) for keyword in node.keywords]
        if any(keyword.arg is None for keyword in keywords):
            raise _Unsplittable
        takes_program_values = len(self.leaves) > before
        if _is_isclose(node):
            function: ast.expr = ast.Attribute(ast.Name("math", ast.Load()), "isclose", ast.Load())
        elif isinstance(node.func, ast.Name) and node.func.id in (
            _SAFE_OUTSIDE if takes_program_values else _BUILTINS
        ):
            function = ast.Name(node.func.id, ast.Load())
        else:
            raise _Unsplittable
        return ast.Call(function, arguments, keywords)


def _is_math_constant(node: ast.Attribute) -> bool:
    named = isinstance(node.value, ast.Name) and node.value.id == "math"
    return named and isinstance(getattr(math, node.attr, None), float)


def _is_singleton(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and (node.value is None or isinstance(node.value, bool))


def _is_small(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, int) and node.value <= _MAX_POWER


def _is_isclose(node: ast.Call) -> bool:
    function = node.func
    if isinstance(function, ast.Name):
        return function.id == "isclose"
    return isinstance(function, ast.Attribute) and ast.unparse(function) == "math.isclose"


def _named_call(name: str, *arguments: ast.expr) -> ast.expr:
    return ast.Call(ast.Name(name, ast.Load()), list(arguments), [])


def _negate_if(negate: bool, node: ast.expr) -> ast.expr:
    return ast.UnaryOp(ast.Not(), node) if negate else node
