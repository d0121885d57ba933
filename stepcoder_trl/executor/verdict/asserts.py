"""
Split `assert` statements into an expression that runs with the program, and a comparison that runs outside.

`assert f(2) == [1, 2]` is split into the expression `f(2)`, evaluated in the program's process, and a comparison of
its value with `[1, 2]`, evaluated here. So expected values never enter the program's process, and a custom `__eq__`
has no effect. An assert that cannot be split runs in the program's process and is marked untrusted.
"""

from __future__ import annotations

import ast
import builtins
import copy
import itertools
import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from types import CodeType
from typing import Any, TypeGuard

from stepcoder_trl.executor.verdict.compare import contains, is_close
from stepcoder_trl.executor.verdict.literals import MAX_SIZE, Literal, Literals, NotEvaluatedError, is_math_constant
from stepcoder_trl.executor.wire.equality import python_equal
from stepcoder_trl.executor.wire.messages import EQUAL_NAME
from stepcoder_trl.parsing import expression_tree, syntax_tree


# Evaluated outside on literals. A program may define a function of the same name: see `_Splitter.is_program`.
_BUILTINS: dict[str, Any] = {
    function.__name__: function
    for function in (
        *(abs, bool, bytes, complex, dict, float, frozenset, int, len, list, max, min),
        *(range, round, set, sorted, str, sum, tuple),
    )
}
_OUTSIDE = {"_equal": python_equal, "_contains": contains, "_isclose_": is_close, "math": math, **_BUILTINS}
_FUNCTIONS = {name: function for name, function in _OUTSIDE.items() if callable(function)}
_FUNCTIONS["math.isclose"] = math.isclose
WRAPPERS = frozenset({"set", "list", "sorted", "tuple", "len", "str", "round", "frozenset", "dict", "sum", "bool"})
# Functions that are cheap on any value of the program, and so may run outside.
_SAFE_OUTSIDE = frozenset({"abs", "round", "float", "len", "bool"})
_ISCLOSE = ("isclose", "math.isclose", "_isclose_")  # the last one in translated modules
BUILTIN_NAMES = frozenset(dir(builtins))
_MAX_PARTS = 10_000  # elements of an argument that is evaluated here
_MAX_INT = 10**1000
PLAIN_TYPES = (bool, int, float, complex, str, bytes, list, tuple, set, frozenset, dict, range)
PLAIN_ATTRIBUTES = frozenset(name for kind in PLAIN_TYPES for name in dir(kind))


@dataclass(frozen=True)
class Split:
    """
    Assert, split into the source of an expression that runs with the program, and a comparison of its value.

    `truth` says whether only the truth value of the expression is needed. `asks_answer`: a method of the program's
    answer has a say, as in `assert f(1).startswith("a")`. The answer may have a class of its own. `asks_elements`: the
    value is searched, as in `assert 2 in f(1)`. `tolerates`: floats are compared with a tolerance, which the statement
    itself does not have.
    """

    expression: str
    truth: bool
    asks_answer: bool
    asks_elements: bool
    tolerates: bool
    _judgement: CodeType = field(repr=False)
    _made: Mapping[str, Any] = field(repr=False)  # values of literals, by their names in the judgement

    def holds(self, value: Any) -> bool:
        """Return whether the assert holds for this value. Raises what the comparison raises, as for `None < 1`."""
        return bool(eval(self._judgement, {"__builtins__": {}, **_OUTSIDE, **self._made, "_value": value}))


class _Unsplittable(Exception):
    pass


@lru_cache(maxsize=1024)
def split_assert(statement: str, rebound: frozenset[str] = frozenset()) -> Split | None:
    """
    Split a test. Return `None` if it is not a single assert, or its comparison cannot run outside.

    `rebound` are names of Python's functions that the row's setup or preamble binds to others.
    """
    try:
        match syntax_tree(statement.strip()).body:
            case [ast.Assert(test=test)] if not ((_BUILTINS.keys() | {"math", "isclose"}) & rebound & names_in(test)):
                return _split(test)
    except (SyntaxError, ValueError, RecursionError, MemoryError, _Unsplittable):
        pass
    return None


def _split(test: ast.expr) -> Split:
    operand = test
    while isinstance(operand, ast.UnaryOp) and isinstance(operand.op, ast.Not):
        operand = operand.operand
    splitter = _Splitter(calls_program=any(map(_is_program_name, ast.walk(test))))
    truth = splitter.is_program(operand)
    if truth and isinstance(operand, ast.Call) and any(map(_calls_program, operand.args)):
        raise _Unsplittable  # `assert same(f(1), [2])`: the expected value would enter the program's process
    parts = list(ast.walk(test))
    judgement = ast.fix_missing_locations(ast.Expression(splitter.outside(test)))
    if splitter.leaf is None:
        raise _Unsplittable
    made = {name: literal.value for name, literal in splitter.made.items()}
    given = set(map(id, ast.walk(splitter.leaf)))
    constants = [part.value for part in parts if isinstance(part, ast.Constant) and id(part) not in given]
    asks_truth = truth or any(isinstance(value, bool) for value in (*constants, *made.values()))
    asks_answer = any(_asks_answer(part, asks_truth) for part in ast.walk(splitter.leaf))
    if truth or (asks_truth and len(constants) == 1):
        asks_answer = asks_answer or _tells_truth(splitter.leaf)
    leaf = ast.unparse(_Evaluated().generic_visit(splitter.leaf) if splitter.calls_program else splitter.leaf)
    code = compile(judgement, "<judgement>", "eval")
    return Split(leaf, truth, asks_answer, splitter.asks_elements, splitter.tolerates, code, made)


def _asks_answer(node: ast.AST, truth: bool) -> bool:
    """Return whether an expression calls a method that plain values have, of an answer or a value of the program."""
    if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
        return False
    tells_truth = truth or node.func.attr.startswith("is")  # `f(1).isdigit() > 0`
    if isinstance(_base(node.func.value), ast.Call):
        tells_truth = tells_truth or bool(arguments_of(node))
    return _is_of_answer(node.func) and tells_truth and node.func.attr in PLAIN_ATTRIBUTES


def _tells_truth(node: ast.expr) -> bool:
    """Return whether the truth of an expression is one that an attribute of an answer tells: `f(1).all()`."""
    match node:
        case ast.Attribute():
            return _is_of_answer(node)
        case ast.Call(func=ast.Attribute() as function):
            return _is_of_answer(function)
        case ast.Call(func=ast.Name(id=name), args=[value, *_]) if name in BUILTIN_NAMES:
            return _tells_truth(value)
        case ast.Subscript(value=value):
            return _tells_truth(value)
    return False


def _is_of_answer(attribute: ast.Attribute) -> bool:
    """Return whether an attribute is one of an answer, or of a value of the program, and not of its classes."""
    answer = _base(attribute.value)
    if answer is not attribute.value:
        return True
    if isinstance(answer, ast.Call):
        return not names_class(answer.func)
    return last_name(answer).isupper() or not names_class(answer)


def _base(node: ast.expr) -> ast.expr:
    """Return the expression whose attributes and elements this one is."""
    while isinstance(node, (ast.Attribute, ast.Subscript)):
        node = node.value
    return node


def names_in(node: ast.AST) -> set[str]:
    """Return all names that code uses."""
    return {part.id for part in ast.walk(node) if isinstance(part, ast.Name)}


def arguments_of(call: ast.Call) -> list[ast.expr]:
    """Return all arguments of a call."""
    return [*call.args, *(word.value for word in call.keywords)]


def root_name(node: ast.expr) -> str:
    """Return the first name of a dotted name: `np` for `np.linalg.norm`."""
    while isinstance(node, ast.Attribute):
        node = node.value
    return node.id if isinstance(node, ast.Name) else ""


def names_class(function: ast.expr) -> bool:
    """Return whether what is called seems to be a class, by its name: `Solution()`, not `solve()`."""
    return last_name(function).lstrip("_")[:1].isupper()


def is_one_of(node: ast.AST, names: Collection[str]) -> TypeGuard[ast.Name]:
    """Return whether an expression is one of these names."""
    return isinstance(node, ast.Name) and node.id in names


def _is_program_name(node: ast.AST) -> bool:
    return isinstance(node, ast.Name) and node.id not in _BUILTINS and node.id != "math"


def _calls_program(node: ast.expr) -> bool:
    calls = (child for child in ast.walk(node) if isinstance(child, ast.Call))
    return any(_is_program_name(part) for call in calls for part in ast.walk(call.func))


def with_tolerance(statement: str) -> str:
    """Return a statement for the examiner in which `==` has the tolerance of floats."""
    return ast.unparse(_Tolerant().visit(syntax_tree(statement)))


class _Tolerant(ast.NodeTransformer):
    """Give the comparisons of a test the tolerance of floats, but not those in arguments of the program."""

    def visit_Call(self, node: ast.Call) -> ast.expr:
        return node  # its arguments are compared as Python does

    def visit_Subscript(self, node: ast.Subscript) -> ast.expr:
        return node

    def visit_Compare(self, node: ast.Compare) -> ast.expr:
        self.generic_visit(node)
        match node:
            case ast.Compare(left=left, ops=[ast.Eq()], comparators=[right]):
                return ast.Call(ast.Name(EQUAL_NAME), [left, right], [])
        return node


class _Splitter:
    """Replace the part of an expression that needs the program, its `leaf`, by the name `_value`."""

    def __init__(self, calls_program: bool) -> None:
        self.calls_program = calls_program
        self.leaf: ast.expr | None = None
        self.asks_elements = False
        self.tolerates = False
        self.made: dict[str, Literal] = {}
        self._numbers = itertools.count()
        self._floats: set[str] = set()  # names of those that may be floats
        self._literals = Literals(_FUNCTIONS, self.made)

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
                    node.func.id in WRAPPERS
                    and self.is_program(wrapped)
                    and not any(_is_program_name(part) for other in others for part in ast.walk(other))
                )
            return self.is_program(node.func)
        if isinstance(node, (ast.Attribute, ast.Subscript)):
            return self.is_program(node.value)
        return _is_program_name(node)

    def outside(self, node: ast.expr) -> ast.expr:
        """Change an expression into the one to evaluate outside, and return it."""
        if self.is_program(node):
            if self.leaf is not None:
                raise _Unsplittable  # the program would supply its own expected value
            self.leaf = node
            return ast.Name("_value", ast.Load())
        if isinstance(node, ast.Compare):
            return self._comparison(node)
        if isinstance(node, (ast.List, ast.Tuple, ast.Set)):
            node.elts = [self.outside(element) for element in node.elts]
        elif isinstance(node, ast.Dict):
            node.keys = [key and self.outside(key) for key in node.keys]
            node.values = [self.outside(value) for value in node.values]
        elif isinstance(node, ast.UnaryOp):
            node.operand = self.outside(node.operand)
        elif isinstance(node, ast.BinOp):
            return self._arithmetic(node)
        elif isinstance(node, ast.Call):
            return self._call(node)
        elif not (isinstance(node, ast.Constant) or is_math_constant(node)) or _is_ellipsis(node):
            raise _Unsplittable  # `...` is no value that is sent
        return node

    def _arithmetic(self, node: ast.BinOp) -> ast.expr:
        before = self.leaf
        node.left, node.right = self.outside(node.left), self.outside(node.right)
        if self.leaf is before:
            return self._evaluated(node)
        if not isinstance(node.op, (ast.Add, ast.Sub)):
            raise _Unsplittable  # in `f(1) * [0]`, the program may return 10**9
        return node

    def _evaluated(self, node: ast.expr) -> ast.expr:
        """Replace what literals make by a name of its value."""
        try:
            literal = self._literals.evaluate(node)
        except NotEvaluatedError:
            raise _Unsplittable from None
        name = f"_made_{next(self._numbers)}"
        if self._may_be_float(node):
            self._floats.add(name)
        for part in names_in(node) & self.made.keys():
            del self.made[part]
        self.made[name] = literal
        if sum(each.size for each in self.made.values() if not isinstance(each.value, range)) > MAX_SIZE:
            raise _Unsplittable
        return ast.Name(name, ast.Load())

    def _may_be_float(self, node: ast.expr) -> bool:
        """Return whether an expression may be a float, by its literals and operators."""
        return any(_makes_floats(part) or is_one_of(part, self._floats) for part in ast.walk(node))

    def _comparison(self, node: ast.Compare) -> ast.expr:
        if len(node.ops) != 1:
            raise _Unsplittable
        operator = node.ops[0]
        left, right = self.outside(node.left), self.outside(node.comparators[0])
        if isinstance(operator, (ast.Is, ast.IsNot)) and not (is_singleton(left) or is_singleton(right)):
            raise _Unsplittable  # an object loses its identity when it is sent to another process
        if isinstance(operator, ast.Eq):
            self.tolerates |= self._may_be_float(left) or self._may_be_float(right)
            return ast.Call(ast.Name("_equal", ast.Load()), [left, right], [])
        if isinstance(operator, (ast.In, ast.NotIn)):
            self.asks_elements = isinstance(right, ast.Name) and right.id == "_value"
            call = ast.Call(ast.Name("_contains", ast.Load()), [right, left], [])
            return ast.UnaryOp(ast.Not(), call) if isinstance(operator, ast.NotIn) else call
        return ast.Compare(left, [operator], [right])

    def _call(self, node: ast.Call) -> ast.expr:
        before = self.leaf
        node.args = [self.outside(argument) for argument in node.args]
        for keyword in node.keywords:
            keyword.value = self.outside(keyword.value)
        if any(keyword.arg is None for keyword in node.keywords):
            raise _Unsplittable
        if _is_isclose(node) and root_name(node.func) != "_isclose_":
            node.func = ast.Attribute(ast.Name("math", ast.Load()), "isclose", ast.Load())
        if self.leaf is before:
            return self._evaluated(node)
        if not _is_isclose(node) and not (isinstance(node.func, ast.Name) and node.func.id in _SAFE_OUTSIDE):
            raise _Unsplittable
        return node


def _is_ellipsis(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value is ...


def _makes_floats(node: ast.AST) -> bool:
    """Return whether a literal or an operator may make a float."""
    if isinstance(node, ast.Constant):
        return isinstance(node.value, (float, complex))
    return isinstance(node, (ast.Div, ast.Pow, ast.Attribute)) or (
        isinstance(node, ast.Name) and node.id in ("float", "complex")
    )


class _Evaluated(ast.NodeTransformer):
    """Replace what literals make, such as `10**9`, `[0] * 3` or `len("abc")`, by its value, which tells no more."""

    def visit(self, node: ast.AST) -> ast.AST:
        if isinstance(node, (ast.BinOp, ast.Call)) and not any(map(_is_program_name, ast.walk(node))):
            value = _literal_of(node)
            if value is not None:
                return value
        changed: ast.AST = self.generic_visit(node)
        return changed


def _literal_of(node: ast.expr) -> ast.expr | None:
    """Return the value of an expression of literals as a literal. `None` if it is no small plain value."""
    splitter = _Splitter(calls_program=True)
    try:
        splitter.outside(copy.deepcopy(node))
        (value,) = (literal.value for literal in splitter.made.values())
    except (_Unsplittable, RecursionError):
        return None  # the program's process evaluates it, and the test is not plain
    parts = list(value)[: _MAX_PARTS + 1] if type(value) in (list, tuple, set) else [value]
    if len(parts) > _MAX_PARTS or not all(map(_is_scalar, parts)):
        return None  # lists in a list may be one and the same
    return expression_tree(repr(value))


def _is_scalar(value: Any) -> bool:
    if type(value) is float:
        return math.isfinite(value)
    return type(value) in (bool, int, str, bytes, type(None)) and (type(value) is not int or abs(value) < _MAX_INT)


def is_singleton(node: ast.expr) -> bool:
    """Return whether an expression is `None`, `True` or `False`."""
    return isinstance(node, ast.Constant) and (node.value is None or isinstance(node.value, bool))


def last_name(node: ast.expr) -> str:
    """Return the last part of a dotted name: `deque` for `collections.deque`."""
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


def _is_isclose(node: ast.Call) -> bool:
    return isinstance(node.func, (ast.Name, ast.Attribute)) and ast.unparse(node.func) in _ISCLOSE
