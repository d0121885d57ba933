"""
Find out whether a test uses results of the program in a way that the examiner does not support.

It has plain values as they are, and asks the program about its objects. What needs the objects themselves, their
attributes or their classes, runs with the program.
"""

from __future__ import annotations

import ast
import builtins
import re
from array import array
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Iterator
from datetime import datetime, timedelta
from decimal import Decimal
from fractions import Fraction

from stepcoder_trl.executor.verdict.asserts import (
    PLAIN_ATTRIBUTES,
    PLAIN_TYPES,
    arguments_of,
    is_one_of,
    last_name,
    names_in,
    root_name,
)


_UNSUPPORTED_CALLS = frozenset({"next", "callable", "iter"})  # references to objects do not support these
# Functions that call their first argument or look into it.
_LOOK_INTO = frozenset(
    (
        *("map", "filter", "hasattr", "getattr", "reduce", "partial", "cmp_to_key"),
        *("starmap", "filterfalse", "takewhile", "dropwhile"),
    )
)
TRANSFERABLE = frozenset(
    (
        *(kind.__name__ for kind in PLAIN_TYPES),
        *("Counter", "OrderedDict", "defaultdict", "deque", "bytearray", "array", "Fraction", "Decimal"),
        *("date", "time", "datetime", "timedelta"),
    )
)
_LIBRARY_TYPES = (Counter, OrderedDict, defaultdict, deque, bytearray, array, Fraction, Decimal, datetime, timedelta)
# Attributes of what the examiner can make of answers. All others are those of the program's classes.
_LIBRARY_ATTRIBUTES = PLAIN_ATTRIBUTES.union(*map(dir, (*_LIBRARY_TYPES, re.Match)))
_NOT_SENT = (type(NotImplemented), type(...))
_LITERALS = (ast.Constant, ast.List, ast.Tuple, ast.Set, ast.Dict)
_CLASS_NAME = re.compile("[A-Z]+[a-z][A-Za-z]*")
_CLASS_OF_NUMPY = re.compile("ndarray|generic|number|integer|floating|(bool|str|bytes)_|(u?int|float|complex)[0-9]+")


class Results:
    """Taint analysis: names whose values may depend on results of the program."""

    def __init__(
        self, code: ast.AST, calls: list[ast.Call], modules: frozenset[str], numpy_names: frozenset[str]
    ) -> None:
        self.calls = set(map(id, calls))
        self.modules = modules
        self.numpy_names = numpy_names
        self.names: set[str] = set()
        self.literals = _names_of_literals(code)
        waiting: list[str] = []
        affected_by: dict[str, list[set[str]]] = {}  # names that an affected name affects
        for expressions, names in map(self._flow, ast.walk(code)):
            parts = [part for expression in expressions for part in ast.walk(expression)] if names else []
            if any(id(part) in self.calls for part in parts):
                waiting += names
            for name in {part.id for part in parts if isinstance(part, ast.Name)}:
                affected_by.setdefault(name, []).append(names)
        while waiting:
            name = waiting.pop()
            if name not in self.names:
                self.names.add(name)
                waiting += [each for names in affected_by.get(name, ()) for each in names]

    def _flow(self, node: ast.AST) -> tuple[list[ast.expr], set[str]]:
        """Return the names that a node affects, and the expressions by which it does."""
        match node:
            case ast.Assign(targets=targets, value=value):
                return [value], {name for target in targets for name in names_in(target)}
            case ast.AugAssign(target=target, value=value) | ast.NamedExpr(target=target, value=value):
                return [value], names_in(target)
            case ast.AnnAssign(target=target, value=ast.expr() as value):
                return [value], names_in(target)
            case ast.For(target=target, iter=value) | ast.comprehension(target=target, iter=value):
                return [value], names_in(target)
            case ast.Call(func=function):
                given = arguments_of(node)
                names = {each.arg for part in given if isinstance(part, ast.Lambda) for each in part.args.args}
                if isinstance(function, ast.Attribute):  # e.g. `seen.append(candidate(1))` taints `seen`
                    names |= names_in(function.value) - self.modules
                return given, names
        return [], set()

    def is_result(self, node: ast.AST) -> bool:
        """Return whether an expression is a result of the program: a call, a name or an element of one."""
        while isinstance(node, ast.Subscript):
            node = node.value
        return id(node) in self.calls or is_one_of(node, self.names)

    def affect(self, node: ast.AST) -> bool:
        """Return whether an expression may depend on a result of the program."""
        return any(id(part) in self.calls or is_one_of(part, self.names) for part in ast.walk(node))

    def have_attribute(self, node: ast.Attribute) -> bool:
        """Return whether an attribute is one of objects of the program: `f(1).left`, `max(f(1)).left`."""
        if self.is_result(node.value):
            return node.attr not in PLAIN_ATTRIBUTES
        if node.attr in _LIBRARY_ATTRIBUTES or not self.affect(node.value):
            return False
        return not any(is_one_of(part, self.numpy_names) for part in ast.walk(node.value))  # `np.array(f(1)).shape`


def uses_as_object(node: ast.AST, results: Results) -> bool:
    """Return whether code uses a result as messages do not support: `f(1).left`, `f(1)(2)`, `with f(1): ...`."""
    if isinstance(node, ast.Attribute):
        return results.have_attribute(node)
    if isinstance(node, ast.withitem):
        return results.affect(node.context_expr)
    if isinstance(node, ast.Compare):
        return _compares_with_class(node, results)
    if not isinstance(node, ast.Call):
        return False
    name = node.func.id if isinstance(node.func, ast.Name) else ""
    if name == "isinstance" and len(node.args) == 2 and results.is_result(node.args[0]):
        kinds = node.args[1].elts if isinstance(node.args[1], ast.Tuple) else [node.args[1]]
        return not all(last_name(kind) in TRANSFERABLE for kind in kinds)
    if any(map(results.is_result, _functions_given_to(node))):
        return True
    return results.is_result(node.args[0] if name in _UNSUPPORTED_CALLS and node.args else node.func)


def _compares_with_class(node: ast.Compare, results: Results) -> bool:
    """Return whether a result is compared with what is not sent: `f(1) == int`, `type(f(1)) == numpy.ndarray`."""
    sides = [node.left, *node.comparators]
    affected = [side for side in sides if results.affect(side)]
    if not affected:
        return False
    # The type of a plain answer is known in the examiner.
    asks_type = any(_asks_type(part, results) for side in affected for part in ast.walk(side))
    known = {*TRANSFERABLE, "NoneType"} if asks_type else ()
    classes = {part for side in sides if side not in affected for part in _classes_in(side)}
    return not classes <= {*known, *results.literals}


def _names_of_literals(code: ast.AST) -> set[str]:
    """Return the names that are bound to literals alone, by assignments and loops: `Output = [1, 2]`."""
    bound, literal = Counter[str](), Counter[str]()
    for node in ast.walk(code):
        match node:
            case ast.Name(id=name, ctx=ast.Store() | ast.Del()) | ast.arg(arg=name) | ast.ClassDef(name=name):
                bound[name] += 1
            case ast.alias():
                bound[node.asname or node.name] += 1
            case ast.Assign(targets=[target], value=value) | ast.For(target=target, iter=value):
                if isinstance(value, _LITERALS) and not any(_classes_in(value)):
                    literal.update(names_in(target))
    return {name for name, number in literal.items() if bound[name] == number}


def _asks_type(node: ast.AST, results: Results) -> bool:
    """Return whether code asks for the type of a result: `type(f(1))`, `map(type, f(1))`."""
    if not isinstance(node, ast.Call) or id(node) in results.calls or not results.affect(node):
        return False
    return any(is_one_of(part, {"type"}) for part in (node.func, *node.args))


def _classes_in(node: ast.expr) -> Iterator[str]:
    """Yield the names of classes, and of other values that are not sent, which an expression is or lists."""
    match node:
        case ast.List(elts=parts) | ast.Tuple(elts=parts) | ast.Set(elts=parts) | ast.Dict(values=parts):
            for part in parts:
                yield from _classes_in(part)
        case ast.Constant(value=value) if value is ...:
            yield "Ellipsis"
        case ast.Call(func=ast.Name(id="slice")):
            yield "slice"
        case ast.Call(func=ast.Name(id="type"), args=[value]):
            yield _type_name_of(value)
        case ast.Name(id=name) if isinstance(getattr(builtins, name, None), (type, *_NOT_SENT)):
            yield name
        case ast.Name(id=name) | ast.Attribute(attr=name) if _CLASS_NAME.fullmatch(name):
            yield name
        case ast.Attribute(attr=name) if _CLASS_OF_NUMPY.fullmatch(name):
            yield name


def _type_name_of(node: ast.expr) -> str:
    """Return the name of the class of a literal, else an empty text."""
    try:
        return type(ast.literal_eval(node)).__name__
    except (ValueError, TypeError):
        return ""


def _functions_given_to(call: ast.Call) -> list[ast.expr]:
    """Return the arguments of a call that may be functions, patterns or other objects of the program's."""
    name, keys = last_name(call.func), [word.value for word in call.keywords if word.arg == "key"]
    if root_name(call.func) == "re":
        return [*call.args[: 2 if name in ("sub", "subn") else 1], *keys]
    return [*call.args[: name in _LOOK_INTO], *keys]
