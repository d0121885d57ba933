"""
Decide whether the value of an expression holds all that its source says.

The source of a setup that builds arguments is shown to the program. What its value leaves out, such as the values of
`list({1: 10})`, may be results. Only what is known to leave out nothing counts.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Collection

from stepcoder_trl.executor.verdict.asserts import (
    BUILTIN_NAMES,
    PLAIN_ATTRIBUTES,
    arguments_of,
    last_name,
    names_class,
    root_name,
)


# Functions whose result holds all elements of a sequence. Of a dict, it holds the keys alone.
_OF_SEQUENCES = frozenset(
    (
        *("list", "tuple", "set", "frozenset", "sorted", "deque", "bytes", "bytearray"),
        *("array", "asarray", "join"),
    )
)
_OPTIONS = frozenset(("key", "reverse"))  # arguments that leave out nothing: `maxlen` and `dtype` may
_CONVERSIONS = frozenset(("int", "float", "complex", "str", "chr", "ord"))
_OF_PAIRS = frozenset(("dict", "OrderedDict"))  # of two pairs with one key, they hold one
_METHODS = frozenset(("split", "splitlines", "encode"))  # with arguments, they may leave something out
_COPIES = frozenset(("copy", "deepcopy", "fromisoformat", "date", "time", "datetime", "timedelta"))
_KNOWN = _OF_SEQUENCES | _CONVERSIONS | _OF_PAIRS | _METHODS | _COPIES | {"range", "defaultdict"}  # to `copied`
_SEQUENCES = (ast.List, ast.Tuple, ast.Set, ast.ListComp, ast.SetComp, ast.JoinedStr)


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
            return [*given, *values] if len(given) == len(keys) and _differ(given) else None
        case ast.Starred(value=value) if isinstance(value, ast.Name) or is_sequence(value, ()):
            return [value]
        case (
            ast.UnaryOp(op=ast.USub() | ast.UAdd(), operand=value) | ast.FormattedValue(value=value, format_spec=None)
        ):
            return [value]
        case ast.BinOp():
            return operands(node)
        case ast.ListComp() | ast.SetComp() | ast.GeneratorExp() if _counts(node):
            return [node.elt]
        case ast.Attribute(value=value, attr=name) if name not in PLAIN_ATTRIBUTES:
            return [value]
    return None


def _parts_of_call(call: ast.Call, imported: Collection[str]) -> list[ast.expr] | None:
    """Return the expressions whose values are in the value of a call, as `_parts` does."""
    name, owner = last_name(call.func), [call.func]
    if isinstance(call.func, ast.Attribute):
        owner = [call.func.value]
    elif isinstance(call.func, ast.Name):
        owner = []
    if name in _KNOWN or names_class(call.func):
        kept = copied(call, _may_be_sequence)
    elif root_name(call.func) not in imported and name not in PLAIN_ATTRIBUTES | BUILTIN_NAMES:
        kept = arguments_of(call)  # a function of the program
    else:
        return None
    return None if kept is None else [*owner, *kept]


def copied(call: ast.Call, is_known: Callable[[ast.expr], bool]) -> list[ast.expr] | None:
    """
    Return the arguments of a function of a library, or of a class, if its value holds all that they hold.

    `is_known` says of an argument whether it is a sequence.
    """
    name, arguments = last_name(call.func), arguments_of(call)
    if name in _OF_SEQUENCES:
        fits = (
            len(call.args) <= 1 and all(map(is_known, call.args)) and {word.arg for word in call.keywords} <= _OPTIONS
        )
    elif name in _CONVERSIONS:
        fits = all(_is_literal(each, (int, str) if name == "int" else (int, float, str)) for each in arguments)
    elif name == "range":
        fits = _counts_up(call)
    elif name in _OF_PAIRS:
        fits = not call.args
    elif name == "defaultdict":
        fits = len(arguments) == 1
    elif name in _METHODS:
        fits = not arguments
    elif name in _COPIES:
        fits = bool(arguments) or name == "copy"  # `moment.date()` leaves out the time
    else:
        fits = names_class(call.func)
    return arguments if fits else None


def operands(node: ast.BinOp) -> list[ast.expr] | None:
    """Return both sides of an operation if its value holds them: of `n + 1`, not of `n % 10` or `[1] * n`."""
    left, right = node.left, node.right
    if isinstance(node.op, ast.Add):
        return [left, right]
    if not isinstance(node.op, (ast.Sub, ast.Mult, ast.Pow, ast.LShift)) or _is_empty(left) or _is_empty(right):
        return None
    is_one = isinstance(node.op, ast.Pow) and isinstance(left, ast.Constant) and left.value == 1
    # With a number, neither is `-` one of sets, nor can `*` empty a sequence.
    return [left, right] if (_is_positive(left) or _is_positive(right)) and not is_one else None


def _may_be_sequence(node: ast.expr) -> bool:
    return isinstance(node, ast.Name) or is_sequence(node, ())


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
            return name in _OF_SEQUENCES or name in ("range", "str")
        case ast.Call(func=ast.Attribute(attr=name)):
            return name in ("split", "splitlines", "join", "encode", "upper", "lower", "array", "asarray")
    return isinstance(node, _SEQUENCES)


def _counts(node: ast.ListComp | ast.SetComp | ast.GeneratorExp) -> bool:
    """Return whether a comprehension goes through ranges alone, and leaves out nothing."""
    return all(not each.ifs and _counts_up(each.iter) for each in node.generators)


def _counts_up(node: ast.expr) -> bool:
    """Return whether an expression is a range that is not empty."""
    match node:
        case ast.Call(func=ast.Name(id="range"), args=[ast.Constant(value=int(stop))], keywords=[]):
            return stop > 0
        case ast.Call(
            func=ast.Name(id="range"),
            args=[ast.Constant(value=int(start)), ast.Constant(value=int(stop))],
            keywords=[],
        ):
            return stop > start
    return False


def _differ(keys: list[ast.expr]) -> bool:
    """Return whether the keys of a dict are literals of which no two are equal, or a single one."""
    try:
        return len(keys) < 2 or len({ast.literal_eval(key) for key in keys}) == len(keys)
    except (ValueError, TypeError):
        return False


def _is_literal(node: ast.expr, kinds: tuple[type, ...]) -> bool:
    """Return whether an expression is a constant of one of these types, with or without a sign."""
    match node:
        case ast.Constant(value=value) | ast.UnaryOp(op=ast.USub() | ast.UAdd(), operand=ast.Constant(value=value)):
            return isinstance(value, kinds)
    return False


def _is_positive(node: ast.expr) -> bool:
    """Return whether an expression is a number above 0, made of literals."""
    match node:
        case ast.Constant(value=int() | float() as value):
            return value > 0
        case ast.BinOp(left=left, op=ast.Add() | ast.Mult() | ast.Pow() | ast.LShift(), right=right):
            return _is_positive(left) and _is_positive(right)
    return False


def _is_empty(node: ast.expr) -> bool:
    """Return whether an expression is 0, or an empty text or sequence, which `*` and `**` make of all."""
    match node:
        case ast.Constant(value=value):
            return not value
        case ast.List(elts=parts) | ast.Tuple(elts=parts) | ast.Set(elts=parts):
            return not parts
    return False
