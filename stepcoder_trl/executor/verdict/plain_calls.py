"""
Recognise the asserts that are trusted although their expression runs with the program.

The program sees the source of that expression. So only one shape is trusted: one call of a function of the program,
whose arguments the source shows as they are. Then all that the program sees are arguments. Everything else runs in
the examiner, or is untrusted.

    expression: call | expression.name | expression[literal] | expression.name()
              | helper(expression) | round(expression, int) | sorted(expression, reverse=bool) | name
    helper:     builtin whose result the answer could be or hold itself, as in `str(f(1)) == "1"`. The program can
                replace every helper. Of other ones it would only have to know the result, as in `isleap(f(1)) == True`
    call:       function(argument, ...)
    function:   name, but none that runs a text as code | Class.name | Class(argument, ...).name
                A builtin only where its arguments have no other names: `isinstance(Dog(), Animal)` judges an object
    argument:   literal | [argument, ...] | {literal: argument} | Class(argument, ...) | name of an argument
              | float(text) | module.array([literal, ...]) | -argument | name of a builtin
"""

from __future__ import annotations

import ast
from collections.abc import Collection

from stepcoder_trl.executor.verdict.asserts import (
    BUILTIN_NAMES,
    WRAPPERS,
    arguments_of,
    names_class,
    names_in,
    root_name,
)
from stepcoder_trl.executor.verdict.literals import is_math_constant
from stepcoder_trl.parsing import syntax_tree


_RUN_TEXTS = frozenset(("eval", "exec", "compile", "__import__"))
_HELPERS = WRAPPERS | {"repr", "any", "all", "type", "next", "asyncio.run"}
_EMPTY = frozenset(("list", "tuple", "set", "frozenset", "dict"))


class PlainCalls:
    """
    Grammar of the module, for the tests of one row.

    `known` are names that are not the program's: those that its setup and its preamble bind. `made` are those of them
    that not only imports bind. `given` are names of the setup whose values hold all that their source says.
    """

    def __init__(self, known: Collection[str], made: Collection[str], given: Collection[str] = ()) -> None:
        self._known = frozenset(known)
        self._imported = self._known.difference(made)
        self._made = frozenset(made)
        self._given = given

    def is_plain(self, expression: str) -> bool:
        """Return whether an expression is one call of the program, or a part of what it returned."""
        match syntax_tree(expression).body:
            case [ast.Expr(value=value)]:
                return self._is_answer(value)
        return False

    def _is_answer(self, node: ast.expr) -> bool:
        match node:
            case ast.Name(id=name):
                return name not in self._known
            case ast.Attribute(value=value):
                return self._is_answer(value)
            case ast.Subscript(value=value, slice=index):
                return self._is_answer(value) and _is_index(index)
            case ast.Call(func=ast.Attribute(value=value), args=[], keywords=[]) if self._is_answer(value):
                return True
            case ast.Call(func=function) if self._is_function(function) and self._are_arguments(node):
                return root_name(function) not in BUILTIN_NAMES or not _names_others(node)
            case ast.Call(args=[value], keywords=[]):
                is_helper = ast.unparse(node.func) in _HELPERS and root_name(node.func) not in self._made
                return is_helper and self._is_answer(value)
            case ast.Call(func=ast.Name(id="round"), args=[value, ast.Constant(value=int())], keywords=[]):
                return self._is_answer(value)
            case ast.Call(
                func=ast.Name(id="sorted"),
                args=[value],
                keywords=[ast.keyword(arg="reverse", value=ast.Constant(value=bool()))],
            ):
                return self._is_answer(value)
        return False

    def _is_function(self, node: ast.expr) -> bool:
        """Return whether an expression is a function of the program. Attributes of values are none."""
        if isinstance(node, ast.Name):
            return node.id not in self._known | _RUN_TEXTS
        if not isinstance(node, ast.Attribute):
            return False
        owner = node.value
        if isinstance(owner, ast.Call):
            return self._is_object(owner)
        return self._is_class(owner) and not root_name(owner).isupper()  # `RESULT.equals([1])` asks a value

    def _is_class(self, node: ast.expr) -> bool:
        """Return whether an expression seems to be a class of the program."""
        return isinstance(node, ast.Name) and names_class(node) and node.id not in BUILTIN_NAMES | self._known

    def _is_object(self, node: ast.Call) -> bool:
        return self._is_class(node.func) and self._are_arguments(node)

    def _are_arguments(self, call: ast.Call) -> bool:
        return all(map(self.is_argument, arguments_of(call)))

    def is_argument(self, node: ast.expr) -> bool:
        """Return whether the value of an expression holds all that its source says, and is no answer."""
        match node:
            case ast.Constant():
                return True
            case ast.Name(id=name):
                return name in self._given or name in BUILTIN_NAMES - self._known
            case ast.Attribute():
                return is_math_constant(node)
            case ast.UnaryOp(op=ast.USub() | ast.UAdd(), operand=ast.Call() | ast.Attribute() as operand):
                return self.is_argument(operand)  # -float('inf')
            case ast.UnaryOp() | ast.BinOp():
                return _is_literal(node)  # -1, 2 + 3j
            case ast.Call():
                return self._makes_argument(node)
        return self._is_display(node)

    def _is_display(self, node: ast.expr) -> bool:
        """Return whether an expression is a container with arguments as its elements."""
        match node:
            case ast.List(elts=parts) | ast.Tuple(elts=parts):
                return all(map(self.is_argument, parts))
            case ast.Set(elts=parts):
                return _differ(parts)
            case ast.Dict(keys=keys, values=values):
                return _differ(keys) and all(map(self.is_argument, values))
            case ast.Starred(value=ast.List() | ast.Tuple() as value):
                return self.is_argument(value)
        return False

    def _makes_argument(self, call: ast.Call) -> bool:
        """Return whether what a call makes holds all of its arguments."""
        match call:
            case ast.Call(func=ast.Name(id="float"), args=[ast.Constant()], keywords=[]):
                return "float" not in self._known
            case ast.Call(func=ast.Name(id=name), args=[], keywords=[]) if name in _EMPTY:
                return name not in self._known
            case ast.Call(func=ast.Attribute(attr="array"), args=[ast.List() as value], keywords=[]):
                return root_name(call.func) in self._imported and _is_literal(value)
        return self._is_object(call)


def _names_others(call: ast.Call) -> bool:
    """Return whether an argument names anything but builtins."""
    return any(not names_in(argument) <= BUILTIN_NAMES for argument in arguments_of(call))


def _is_index(node: ast.expr) -> bool:
    """Return whether an expression is a literal index, key or slice."""
    if isinstance(node, ast.Slice):
        return all(part is None or _is_literal(part) for part in (node.lower, node.upper, node.step))
    return _is_literal(node)


def _is_literal(node: ast.expr) -> bool:
    try:
        ast.literal_eval(node)
    except (ValueError, TypeError):
        return False
    return True


def _differ(parts: list[ast.expr] | list[ast.expr | None]) -> bool:
    """Return whether expressions are literals of which no two are equal."""
    try:
        return len({ast.literal_eval(part) for part in parts if part is not None}) == len(parts)
    except (ValueError, TypeError):
        return False
