"""
Find out where a test may compare results of two functions of the program, such as `moved(p) == Point(2, 2)`.

Both may be objects, and then the program decides whether they are equal. So such a test runs with the program and is
untrusted. Names are followed without regard to order and scope: too much may be found, but not too little.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Mapping, Sequence

from stepcoder_trl.executor.verdict.asserts import arguments_of


_Origins = frozenset[str]  # functions of the program
_NONE: _Origins = frozenset()
# Functions whose results are plain, whatever the program returned.
_PLAIN = frozenset(("len", "str", "repr", "int", "float", "bool", "abs", "round", "isinstance", "type", "print"))
_STORING = frozenset(("append", "extend", "insert"))  # methods that compare nothing
# Functions that gather what they get, or compare it by order, which objects of the program do not have here.
_GATHERING = frozenset(
    (
        *("list", "tuple", "set", "frozenset", "dict", "zip", "enumerate", "reversed", "iter"),
        *("sorted", "min", "max", "sum", "all", "any"),
    )
)
_FUNCTIONS = (ast.FunctionDef, ast.Lambda)
_Function = ast.FunctionDef | ast.Lambda


def compares_results(code: ast.AST, functions: Mapping[str, ast.FunctionDef], names: _Names) -> bool:
    """
    Return whether code may compare results of two functions of the program.

    `functions` are those of the setup, by name. `names` maps the names of the program's functions in `code` to what
    the program calls them.
    """
    if len(set(names.values())) < 2:
        return False
    trees = [code, *functions.values()]
    flow = _Flow(_functions_in(trees), names)
    known = -1
    while (found := sum(map(len, flow.origins.values()))) > known:
        known = found
        for tree in trees:
            for node in ast.walk(tree):
                flow.follow(node)
    return any(flow.combines(node) for tree in trees for node in ast.walk(tree))


_Names = Mapping[str, str]


def _functions_in(trees: Sequence[ast.AST]) -> dict[str, list[_Function]]:
    """Return all functions of trees by name, nested ones and lambdas included."""
    found: dict[str, list[_Function]] = {}
    for node in (node for tree in trees for node in ast.walk(tree)):
        if isinstance(node, ast.FunctionDef):
            found.setdefault(node.name, []).append(node)
        elif isinstance(node, ast.Assign) and isinstance(node.value, ast.Lambda):
            for name in (name for target in node.targets for name in _names_in(target)):
                found.setdefault(name, []).append(node.value)
    return found


class _Flow:
    """Names of a test, and the functions of the program whose results each may hold."""

    def __init__(self, functions: Mapping[str, Sequence[_Function]], names: _Names) -> None:
        self._functions = functions
        self._candidates = set(names)  # names of functions of the program
        self.origins = {name: frozenset({function}) for name, function in names.items()}

    def of(self, node: ast.AST) -> _Origins:
        """Return the functions whose results the value of an expression may hold."""
        if isinstance(node, ast.Name):
            inside = (name for each in self._functions.get(node.id, ()) for name in _names_in(each))
            return self.origins.get(node.id, _NONE).union(*(self.origins.get(name, _NONE) for name in inside))
        if isinstance(node, ast.Call):
            called = node.func
            if isinstance(called, ast.Name) and called.id in _PLAIN:
                return _NONE
            if isinstance(called, ast.Name) and called.id in self._candidates:
                return self.origins[called.id]  # a call of the program, whose arguments only the program sees
        if isinstance(node, (ast.Compare, ast.FunctionDef)):
            return _NONE
        return _NONE.union(*map(self.of, ast.iter_child_nodes(node)))

    def follow(self, node: ast.AST) -> None:
        """Note what a statement or an expression puts under names."""
        match node:
            case ast.Assign(targets=targets, value=value):
                self._put(targets, self.of(value))
            case (
                ast.AugAssign(target=target, value=ast.expr() as value)
                | ast.AnnAssign(target=target, value=ast.expr() as value)
                | ast.NamedExpr(target=target, value=value)
                | ast.For(target=target, iter=value)
                | ast.comprehension(target=target, iter=value)
                | ast.withitem(optional_vars=ast.expr() as target, context_expr=value)
            ):
                self._put([target], self.of(value))
            case ast.Match(subject=subject):
                self._put_names(_names_of_patterns(node), self.of(subject))
            case ast.FunctionDef(args=arguments) | ast.Lambda(args=arguments):
                for parameter, default in _defaults(arguments):
                    self._put_names([parameter.arg], self.of(default))
            case ast.Call(func=ast.Name(id=name)) if name in self._functions:
                for function in self._functions[name]:
                    self._pass(node, function)
            case ast.Call(func=ast.Attribute(value=receiver)):
                self._put([receiver], _NONE.union(*map(self.of, arguments_of(node))))

    def combines(self, node: ast.AST) -> bool:
        """Return whether a comparison, or a call that may compare, gets results of two functions of the program."""
        if isinstance(node, ast.Compare):
            return _differ([self.of(side) for side in (node.left, *node.comparators)])
        if not isinstance(node, ast.Call):
            return False
        called, given = node.func, [self.of(argument) for argument in arguments_of(node)]
        if isinstance(called, ast.Name):
            if called.id in self._functions or called.id in self._candidates or called.id in _PLAIN:
                return False
            gathers = called.id in _GATHERING and not node.keywords
            return _differ([self.of(called), *given]) or (not gathers and _is_mixed(given))
        if isinstance(called, ast.Attribute):
            stores = called.attr in _STORING
            return not stores and (_differ([self.of(called.value), *given]) or _is_mixed(given))
        return _is_mixed([_NONE.union(self.of(called), *given)])

    def _put(self, targets: Sequence[ast.AST], origins: _Origins) -> None:
        self._put_names((name for target in targets for name in _names_in(target)), origins)

    def _put_names(self, names: Iterable[str], origins: _Origins) -> None:
        if origins:
            for name in names:
                self.origins[name] = self.origins.get(name, _NONE) | origins

    def _pass(self, call: ast.Call, function: _Function) -> None:
        """Note what a function of the setup gets."""
        given = function.args
        parameters = [*given.posonlyargs, *given.args]
        rest = [each for each in (given.vararg, given.kwarg) if each is not None]
        by_name = {each.arg: each for each in (*parameters, *given.kwonlyargs)}
        is_open = any(isinstance(argument, ast.Starred) for argument in call.args)
        for place, argument in enumerate(call.args):
            takers = by_name.values() if is_open else parameters[place : place + 1]
            self._put_arguments([*takers, *rest], argument)
        for word in call.keywords:
            takers = by_name.values() if word.arg is None else [by_name[word.arg]] if word.arg in by_name else []
            self._put_arguments([*takers, *rest], word.value)

    def _put_arguments(self, parameters: Sequence[ast.arg], argument: ast.expr) -> None:
        names = {parameter.arg for parameter in parameters}
        self._put_names(names, self.of(argument))
        if isinstance(argument, ast.Name) and argument.id in self._candidates:
            self._candidates |= names


def _is_mixed(operands: Sequence[_Origins]) -> bool:
    """Return whether one operand may hold results of several functions: `groupby([moved(1), Point(2)])`."""
    return any(len(operand) > 1 for operand in operands)


def _defaults(arguments: ast.arguments) -> Iterator[tuple[ast.arg, ast.expr]]:
    """Yield the parameters that have a default."""
    positional = [*arguments.posonlyargs, *arguments.args]
    yield from zip(reversed(positional), reversed(arguments.defaults), strict=False)
    for parameter, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True):
        if default is not None:
            yield parameter, default


def _names_of_patterns(match: ast.Match) -> Iterator[str]:
    """Yield the names that the patterns of a statement bind."""
    for node in (node for case in match.cases for node in ast.walk(case.pattern)):
        if isinstance(node, (ast.MatchAs, ast.MatchStar)) and node.name is not None:
            yield node.name
        elif isinstance(node, ast.MatchMapping) and node.rest is not None:
            yield node.rest


def _differ(sides: Sequence[_Origins]) -> bool:
    """Return whether two operands may hold results of different functions."""
    holding = [side for side in sides if side]
    return len(holding) > 1 and len(_NONE.union(*holding)) > 1


def _names_in(node: ast.AST) -> Iterator[str]:
    return (part.id for part in ast.walk(node) if isinstance(part, ast.Name))
