"""
Decide whether the value of an expression holds all that its source says.

The source of a setup that builds arguments is shown to the program. What its value leaves out, such as the values of
`list({1: 10})`, may be results. Only what is known to leave out nothing counts.
"""

from __future__ import annotations

import ast
import builtins
from collections.abc import Collection

from stepcoder_trl.executor.verdict.asserts import PLAIN_ATTRIBUTES, last_name, names_class


_BUILTIN_NAMES = frozenset(dir(builtins))
# Functions whose result holds all elements of a sequence. Of a dict, it holds the keys alone.
OF_SEQUENCES = frozenset(("list", "tuple", "set", "frozenset", "sorted", "deque"))
_OF_NUMBERS = frozenset(("range", "int", "float", "complex", "str", "bytes", "bytearray", "chr", "ord"))
# Functions and methods of libraries whose result holds all that their arguments, or their object, hold.
COPIES = frozenset(
    (
        *("dict", "copy", "deepcopy", "defaultdict", "array", "asarray", "loads", "fromisoformat"),
        *("date", "time", "datetime", "timedelta", "split", "splitlines", "join", "encode", "upper", "lower"),
    )
)
_SEQUENCES = (ast.List, ast.Tuple, ast.Set, ast.ListComp, ast.SetComp, ast.JoinedStr)
_ARITHMETIC = (ast.Add, ast.Sub, ast.Mult, ast.Pow, ast.LShift)


def holds_all(node: ast.expr, imported: Collection[str]) -> bool:
    """
    Return whether the value of an expression holds all of its constants and names, or the program is given them.

    `imported` are the names that the setup imports. Other functions are the program's, and see their arguments.
    """

    parts = _parts_of_call(node, imported) if isinstance(node, ast.Call) else _parts(node)
    return parts is not None and all(holds_all(part, imported) for part in parts)


def _parts(node: ast.expr) -> list[ast.expr] | None:
    """Return the expressions whose values are in the value of one. `None` if something may be left out."""
    match node:
        case ast.Constant() | ast.Name():
            return []
        case ast.List(elts=parts) | ast.Tuple(elts=parts) | ast.Set(elts=parts) | ast.JoinedStr(values=parts):
            return parts
        case ast.Dict(keys=keys, values=values):
            given = [key for key in keys if key is not None]
            return [*given, *values] if len(set(map(ast.unparse, given))) == len(keys) else None
        case ast.Starred(value=value) if isinstance(value, ast.Name) or is_sequence(value, ()):
            return [value]
        case (
            ast.UnaryOp(op=ast.USub() | ast.UAdd(), operand=value) | ast.FormattedValue(value=value, format_spec=None)
        ):
            return [value]
        case ast.BinOp(left=left, op=op, right=right) if isinstance(op, _ARITHMETIC):
            return None if _is_zero(left) or _is_zero(right) else [left, right]
        case ast.ListComp() | ast.SetComp() | ast.GeneratorExp() if _counts(node):
            return [node.elt]
        case ast.Attribute(value=value, attr=name) if name not in PLAIN_ATTRIBUTES:
            return [value]
    return None


def _parts_of_call(call: ast.Call, imported: Collection[str]) -> list[ast.expr] | None:
    """Return the expressions whose values are in the value of a call, as `_parts` does."""
    name, arguments = last_name(call.func), [*call.args, *(word.value for word in call.keywords)]
    root: ast.expr = call.func
    while isinstance(root, ast.Attribute):
        root = root.value
    owner = [] if isinstance(call.func, ast.Name) else [root]
    if name in OF_SEQUENCES:
        known = all(isinstance(argument, ast.Name) or is_sequence(argument, ()) for argument in call.args)
        return arguments if known else None
    if name in COPIES | _OF_NUMBERS or names_class(call.func):
        return [*owner, *arguments]
    is_of_program = not (isinstance(root, ast.Name) and root.id in imported) and name not in PLAIN_ATTRIBUTES
    return [*owner, *arguments] if is_of_program and name not in _BUILTIN_NAMES else None


def is_sequence(node: ast.expr, sequences: Collection[str]) -> bool:
    """Return whether the value of an expression is a sequence or a set, as those of the names `sequences` are."""
    match node:
        case ast.Constant(value=value):
            return isinstance(value, (str, bytes))
        case ast.Name(id=name):
            return name in sequences
        case ast.BinOp(left=left, op=ast.Add() | ast.Mult(), right=right):
            return is_sequence(left, sequences) or is_sequence(right, sequences)
        case ast.Call(func=ast.Name(id=name)):
            return name in OF_SEQUENCES or name in ("range", "str", "bytes", "bytearray")
        case ast.Call(func=ast.Attribute(attr=name)):
            return name in ("split", "splitlines", "join", "encode", "upper", "lower")
    return isinstance(node, _SEQUENCES)


def _counts(node: ast.ListComp | ast.SetComp | ast.GeneratorExp) -> bool:
    """Return whether a comprehension goes through ranges alone, and leaves out nothing."""
    return all(
        not each.ifs
        and isinstance(each.iter, ast.Call)
        and last_name(each.iter.func) == "range"
        and all(isinstance(argument, (ast.Constant, ast.Name)) for argument in each.iter.args)
        for each in node.generators
    )


def _is_zero(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value == 0
