"""
Evaluate what a test's own literals make, such as `10**9` or `[0] * 3`, in the caller's process.

Every operator and function gets its operands as values. Those that could make much of little, such as `**`, are
refused by what they are given, before they run. All others take time in proportion to the size of their operands,
which is limited.
"""

from __future__ import annotations

import ast
import math
import operator
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple


MAX_SIZE = 100_000  # of operands, and of a result
_MAX_BITS = 40_000
_MAX_DIGITS = 10_000  # of a text that becomes an integer
_MAX_ROUNDED_DIGITS = 400
_BITS_PER_PART = 30
_NUMBERS = (int, float, complex)
_TEXTS = (str, bytes)
_UNARY: dict[type[ast.unaryop], Callable[[Any], Any]] = {
    ast.USub: operator.neg,
    ast.UAdd: operator.pos,
    ast.Not: operator.not_,
}
# Their results are no larger than their operands together.
_BINARY: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.BitAnd: operator.and_,
    ast.BitOr: operator.or_,
    ast.BitXor: operator.xor,
}
_OF_NUMBERS: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,  # `"%9999d" % 5` makes a long text
    ast.RShift: operator.rshift,
    ast.Mult: operator.mul,
    ast.Pow: operator.pow,
    ast.LShift: operator.lshift,
}


class NotEvaluatedError(Exception):
    """Raised for an expression that is not evaluated here."""


class Literal(NamedTuple):
    """
    Value of an expression of literals.

    `size` is an upper bound of its characters and elements, those of its elements included.
    """

    value: Any
    size: int


class Literals:
    """
    Evaluator of expressions of literals.

    `functions` are all that they may call, by their source: `round`, `math.isclose`. `known` are values of names.
    """

    def __init__(self, functions: Mapping[str, Callable[..., Any]], known: Mapping[str, Literal]) -> None:
        self.functions = functions
        self.known = known

    def evaluate(self, node: ast.expr) -> Literal:
        """
        Return the value of an expression.

        Raises:
            NotEvaluatedError: If it, or one of its parts, is too large, fails, or is no expression of literals.
        """
        try:
            return self._literal(node)
        except (ValueError, TypeError, ArithmeticError, LookupError, MemoryError) as error:
            raise NotEvaluatedError from error

    def _literal(self, node: ast.expr) -> Literal:
        match node:
            case ast.Constant(value=value):
                return Literal(value, _size_of(value))
            case ast.Name(id=name) if name in self.known:
                return self.known[name]
            case ast.Attribute() if is_math_constant(node):
                return Literal(getattr(math, node.attr), 1)
            case ast.List(elts=parts) | ast.Tuple(elts=parts) | ast.Set(elts=parts):
                elements, size = self._literals(parts)
                kinds = {ast.List: list, ast.Tuple: tuple, ast.Set: set}
                return Literal(kinds[type(node)](elements), size)
            case ast.Dict(keys=keys, values=values) if None not in keys:
                (left, keys_size), (right, values_size) = self._literals(keys), self._literals(values)
                return Literal(dict(zip(left, right, strict=True)), keys_size + values_size)
            case ast.UnaryOp(op=sign, operand=operand) if type(sign) in _UNARY:
                value, size = self._literal(operand)
                return Literal(_UNARY[type(sign)](value), size)
            case ast.BinOp(left=left, op=sign, right=right):
                return _combined(type(sign), _limited(self._literal(left)), _limited(self._literal(right)))
            case ast.Call(func=function, args=arguments, keywords=keywords):
                return self._called(ast.unparse(function), arguments, {word.arg: word.value for word in keywords})
        raise NotEvaluatedError

    def _literals(self, nodes: list[ast.expr] | list[ast.expr | None]) -> tuple[list[Any], int]:
        found = [_limited(self._literal(node)) for node in nodes if node is not None]
        return [each.value for each in found], 1 + sum(each.size for each in found)

    def _called(self, name: str, positional: list[ast.expr], words: dict[str | None, ast.expr]) -> Literal:
        if name not in self.functions:
            raise NotEvaluatedError
        arguments, size = self._literals(positional)
        named, named_size = self._literals(list(words.values()))
        if _may_grow(name, [*arguments, *named]) or size + named_size > MAX_SIZE:
            raise NotEvaluatedError
        value = self.functions[name](*arguments, **dict(zip(map(str, words), named, strict=True)))
        is_part = isinstance(value, (list, tuple, set, frozenset, dict))
        return Literal(value, size + named_size if is_part else _size_of(value))


def is_math_constant(node: ast.expr) -> bool:
    """Return whether an expression is `math.pi`, or another number of `math`."""
    return (
        isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id == "math"
        and isinstance(getattr(math, node.attr, None), float)
    )


def _size_of(value: Any) -> int:
    """Return the size of a value without parts."""
    if isinstance(value, int):
        return 1 + value.bit_length() // _BITS_PER_PART
    if isinstance(value, range):
        return MAX_SIZE + 1 if value[MAX_SIZE:] else 1 + len(value)
    return 1 + len(value) if isinstance(value, _TEXTS) else 1


def _limited(literal: Literal) -> Literal:
    """Return an operand. It may be a very long range only where nothing is done with it."""
    if literal.size > MAX_SIZE:
        raise NotEvaluatedError
    return literal


def _combined(sign: type[ast.operator], left: Literal, right: Literal) -> Literal:
    """Return the result of a binary operator."""
    if all(isinstance(each.value, _NUMBERS) for each in (left, right)):
        if _bits_of(sign, left.value, right.value) > _MAX_BITS or sign not in _BINARY | _OF_NUMBERS:
            raise NotEvaluatedError
        value = (_BINARY | _OF_NUMBERS)[sign](left.value, right.value)
        return Literal(value, _size_of(value))
    if sign is ast.Mult:
        return _repeated(left, right)
    if sign not in _BINARY or left.size + right.size > MAX_SIZE:
        raise NotEvaluatedError
    return Literal(_BINARY[sign](left.value, right.value), left.size + right.size)


def _bits_of(sign: type[ast.operator], left: complex, right: complex) -> int:
    """Return an upper bound of the bits of an integer that an operator makes. 0 if it makes no large one."""
    if not (isinstance(left, int) and isinstance(right, int)):
        return 0
    if sign is ast.Pow:
        return left.bit_length() * max(right, 0)
    return left.bit_length() + (max(right, 0) if sign is ast.LShift else right.bit_length())


def _repeated(left: Literal, right: Literal) -> Literal:
    """Return the result of `[0] * 3` or `3 * [0]`."""
    parts, times = (right, left) if isinstance(left.value, int) else (left, right)
    if not isinstance(times.value, int) or parts.size * max(times.value, 1) > MAX_SIZE:
        raise NotEvaluatedError
    return Literal(parts.value * times.value, parts.size * max(times.value, 1))


def _may_grow(name: str, arguments: list[Any]) -> bool:
    """Return whether a function may take long, or make a large value of a small one."""
    if name == "bytes":
        return any(isinstance(each, int) and each > MAX_SIZE for each in arguments)
    if name == "round":
        return any(isinstance(each, int) and abs(each) > _MAX_ROUNDED_DIGITS for each in arguments[1:])
    if name == "int":
        return any(isinstance(each, _TEXTS) and len(each) > _MAX_DIGITS for each in arguments)
    if name == "sum":  # of lists, it takes the square of their number
        return any(not isinstance(part, _NUMBERS) for each in arguments if not isinstance(each, int) for part in each)
    return False
