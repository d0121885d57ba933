"""
Find out where a test may compare results of two functions of the program, such as `moved(p) == Point(2, 2)`.

Both may be objects, and then the program decides whether they are equal. So such a test runs with the program and is
untrusted. Names are followed without regard to order and scope: too much may be found, but not too little.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping, Sequence


_Origins = frozenset[str]  # functions of the program
_NONE: _Origins = frozenset()
# Functions whose results are plain, whatever the program returned.
_PLAIN = frozenset(("len", "str", "repr", "int", "float", "bool", "abs", "round", "isinstance", "type", "print"))
_STORING = frozenset(("append", "extend", "insert"))  # methods that compare nothing
_FUNCTIONS = (ast.FunctionDef, ast.Lambda)


def compares_results(code: ast.AST, functions: Mapping[str, ast.FunctionDef], names: _Names) -> bool:
    """
    Return whether code may compare results of two functions of the program.

    `functions` are those of the setup, by name. `names` maps the names of the program's functions in `code` to what
    the program calls them.
    """
    if len(set(names.values())) < 2:
        return False
    flow = _Flow(functions, names)
    trees = [code, *functions.values()]
    known = -1
    while (found := sum(map(len, flow.origins.values()))) > known:
        known = found
        for tree in trees:
            for node in ast.walk(tree):
                flow.follow(node)
    return any(flow.combines(node) for tree in trees for node in ast.walk(tree))


_Names = Mapping[str, str]


class _Flow:
    """Names of a test, and the functions of the program whose results each may hold."""

    def __init__(self, functions: Mapping[str, ast.FunctionDef], names: _Names) -> None:
        self._functions = functions
        self.origins = {name: frozenset({function}) for name, function in names.items()}

    def of(self, node: ast.AST) -> _Origins:
        """Return the functions whose results the value of an expression may hold."""
        if isinstance(node, ast.Name):
            return self.origins.get(node.id, _NONE)
        if isinstance(node, ast.Call):
            called = node.func
            if isinstance(called, ast.Name) and called.id in _PLAIN:
                return _NONE
            if isinstance(called, ast.Name) and called.id in self.origins and called.id not in self._functions:
                return self.origins[called.id]  # a call of the program, whose arguments only the program sees
        if isinstance(node, (ast.Compare, *_FUNCTIONS)) and not isinstance(node, ast.Lambda):
            return _NONE
        return _NONE.union(*map(self.of, ast.iter_child_nodes(node)))

    def follow(self, node: ast.AST) -> None:
        """Note what a statement or an expression puts under names."""
        match node:
            case ast.Assign(targets=targets, value=value):
                self._put(targets, self.of(value))
            case ast.AugAssign(target=target, value=ast.expr() as value):
                self._put([target], self.of(value))
            case ast.AnnAssign(target=target, value=ast.expr() as value):
                self._put([target], self.of(value))
            case ast.NamedExpr(target=target, value=value):
                self._put([target], self.of(value))
            case ast.For(target=target, iter=value) | ast.comprehension(target=target, iter=value):
                self._put([target], self.of(value))
            case ast.Call(func=ast.Name(id=name)) if name in self._functions:
                self._pass(node, self._functions[name])
            case ast.Call(func=ast.Attribute(value=receiver)):
                self._put([receiver], _NONE.union(*map(self.of, _arguments(node))))
            case ast.Return(value=ast.expr()):
                pass  # a call of a function of the setup holds what its arguments hold

    def combines(self, node: ast.AST) -> bool:
        """Return whether a comparison, or a call that may compare, gets results of two functions of the program."""
        if isinstance(node, ast.Compare):
            return _differ([self.of(side) for side in (node.left, *node.comparators)])
        if not isinstance(node, ast.Call):
            return False
        called = node.func
        if isinstance(called, ast.Name):
            if called.id in self._functions or called.id in self.origins or called.id in _PLAIN:
                return False
            return _differ([self.of(argument) for argument in _arguments(node)])
        if isinstance(called, ast.Attribute) and called.attr not in _STORING:
            return _differ([self.of(operand) for operand in (called.value, *_arguments(node))])
        return False

    def _put(self, targets: Sequence[ast.AST], origins: _Origins) -> None:
        for name in (name for target in targets for name in _names_in(target)):
            self.origins[name] = self.origins.get(name, _NONE) | origins
            if not self.origins[name]:
                del self.origins[name]

    def _pass(self, call: ast.Call, function: ast.FunctionDef) -> None:
        """Note what a function of the setup gets."""
        given = function.args
        parameters = [*given.posonlyargs, *given.args]
        rest = [each for each in (given.vararg, given.kwarg) if each is not None]
        by_name = {each.arg: each for each in (*parameters, *given.kwonlyargs)}
        is_open = any(isinstance(argument, ast.Starred) for argument in call.args)
        for place, argument in enumerate(call.args):
            takers = by_name.values() if is_open else parameters[place : place + 1]
            self._put_arguments([*takers, *rest], self.of(argument))
        for word in call.keywords:
            takers = by_name.values() if word.arg is None else [by_name[word.arg]] if word.arg in by_name else []
            self._put_arguments([*takers, *rest], self.of(word.value))

    def _put_arguments(self, parameters: Sequence[ast.arg], origins: _Origins) -> None:
        for parameter in parameters:
            if origins:
                self.origins[parameter.arg] = self.origins.get(parameter.arg, _NONE) | origins


def _differ(sides: Sequence[_Origins]) -> bool:
    """Return whether two operands may hold results of different functions."""
    holding = [side for side in sides if side]
    return len(holding) > 1 and len(_NONE.union(*holding)) > 1


def _arguments(call: ast.Call) -> list[ast.expr]:
    return [*call.args, *(keyword.value for keyword in call.keywords)]


def _names_in(node: ast.AST) -> Iterator[str]:
    return (part.id for part in ast.walk(node) if isinstance(part, ast.Name))
