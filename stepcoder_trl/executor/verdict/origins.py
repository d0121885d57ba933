"""
Find out whether a test may combine results of two functions of the program, such as `moved(p) == Point(2, 2)`.

Both may be objects or texts of the program's making, and then the program decides whether they are equal. A test may
call several functions only if it falls apart into statements that could be tests of their own.
"""

from __future__ import annotations

import ast
from collections.abc import Collection, Mapping, Sequence

from stepcoder_trl.executor.verdict.asserts import BUILTIN_NAMES, PLAIN_ATTRIBUTES, root_name
from stepcoder_trl.executor.verdict.setups import names_bound_by, names_used_by


_OUTER = "<setup>"
_IMPORTS = (ast.Import, ast.ImportFrom)
_BEYOND_STATEMENTS = (ast.NamedExpr, ast.Global, ast.Nonlocal)  # they bind names outside of where they stand


def may_combine_results(
    body: Sequence[ast.stmt], functions: Mapping[str, str], modules: Collection[str], outer: Collection[str]
) -> bool:
    """
    Return whether statements that share a name, such as a variable, call several functions of the program.

    `functions` maps the names of the program's functions in the statements to what the program calls them. Imported
    names, `modules`, are not counted as shared, unless an object of theirs may keep a result. All other names of the
    setup, `outer`, count as one.
    """
    if len(set(functions.values())) < 2:
        return False
    if any(isinstance(node, _BEYOND_STATEMENTS) for statement in body for node in ast.walk(statement)):
        return True
    groups: list[tuple[frozenset[str], frozenset[str]]] = []  # names, and functions of the program
    statements = _statements(body)
    bound = (names_bound_by(ast.unparse(each)) for each in statements if not isinstance(each, _IMPORTS))
    keeping = frozenset(_name_of_keeper(node) for statement in body for node in ast.walk(statement))
    stateless = BUILTIN_NAMES.union(modules).difference(keeping, *bound)
    for statement in statements:
        source = ast.unparse(statement)
        names = names_bound_by(source) | names_used_by(source)
        called = frozenset(functions[name] for name in names & functions.keys())
        names -= stateless | functions.keys()
        names |= {_OUTER} if names.intersection(outer) else frozenset()
        related = [group for group in groups if group[0] & names]
        groups = [group for group in groups if not group[0] & names]
        groups.append((names.union(*(each[0] for each in related)), called.union(*(each[1] for each in related))))
    return any(len(called) > 1 for _, called in groups)


def _name_of_keeper(node: ast.AST) -> str:
    """Return the first name of a dotted name whose object may be changed: `np` for `np.typecodes.update(x=1)`."""
    match node:
        case ast.Subscript(value=owner):
            return root_name(owner)
        case ast.Attribute(value=ast.Attribute() as owner, attr=attribute) if attribute in PLAIN_ATTRIBUTES:
            return root_name(owner)
    return ""


def _statements(body: Sequence[ast.stmt]) -> Sequence[ast.stmt]:
    """Return the statements of a test. One that is a function and its call has those of the function."""
    match body:
        case [
            ast.FunctionDef(
                name=name, args=ast.arguments(args=[], kwonlyargs=[], vararg=None, kwarg=None)
            ) as function,
            ast.Expr(value=ast.Call(func=ast.Name(id=called), args=[], keywords=[])),
        ] if name == called and not function.decorator_list:
            body = function.body
    return [part for statement in body for part in _parts(statement)]


def _parts(statement: ast.stmt) -> Sequence[ast.stmt]:
    """Return the conditions of `assert a and b` as asserts."""
    match statement:
        case ast.Assert(test=ast.BoolOp(op=ast.And(), values=values)):
            return [ast.Assert(value, None) for value in values]
    return [statement]
