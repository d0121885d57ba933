"""
Check whether the lines that a program's process reports can be those that ran.

The lines are claims of that process. Here is what can be seen from outside: statements of a suite run in their order,
after its header, and a function that returned was entered.
"""

from __future__ import annotations

import ast
from collections.abc import Collection, Iterable, Sequence
from functools import lru_cache
from types import CodeType
from typing import NamedTuple

from stepcoder_trl.executor.wire.messages import Lines
from stepcoder_trl.parsing import COMPILE_ERRORS, compile_for_tracing, parse, quiet_parser
from stepcoder_trl.types import Outcome, TestResult, TLineNo
from stepcoder_trl.units import ExecutableUnit, executable_units


# Words of programs that switch off the tracing of a frame, of a code object, or of everything for a while.
_SWITCHES = ("f_trace", "set_local_events", "set_events", "register_callback", "free_tool_id", "PyEval_SetTrace")
# Words of programs in which a function may be replaced by other means than `def`.
_REPLACING = ("globals", "setattr", "exec", "__dict__", "__code__", "import *", "sys.modules", "__class__", "vars")


_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
_MAX_FUNCTIONS = 1000  # that are compiled here
_MAX_COMPILED_NODES = 500_000
_MAX_COMPILE_S = 0.5  # in which the program's own process compiled it


def believed_lines(
    program: str, lines: Lines, results: Sequence[TestResult], called: str | None = None, compile_s: float = 0.0
) -> Lines:
    """
    Return the lines that a program's process reports, or `None` if they cannot be all that ran.

    `called` is the function or method that all tests call, if they are call tests. `compile_s` are the CPU seconds in
    which the program was compiled there.
    """
    if lines is None or not is_plausible_trace(program, lines, compile_s):
        return None
    returned = any(result.outcome in (Outcome.PASSED, Outcome.FAILED) for result in results)
    if not lines and (returned or any(result.error_line for result in results)):
        return None
    if returned and called is not None and not _was_entered(program, lines, called):
        return None
    return lines


def is_plausible_trace(program: str, lines: Collection[TLineNo], compile_s: float = 0.0) -> bool:
    """
    Return whether just these lines of a program may have run.

    Each statement runs after the one before it in its suite, or after the header of the suite. Programs that use the
    means to switch off a trace have no plausible one.
    """
    return not any(word in program for word in _SWITCHES) and _runs_in_order(program, lines, compile_s)


def _runs_in_order(program: str, lines: Collection[TLineNo], compile_s: float) -> bool:
    """Return whether each statement that ran came after the one before it, or after the header of its suite."""
    units = executable_units(program)
    if not units:
        return True
    events = frozenset(lines)
    ran = [not events.isdisjoint(range(unit.first_line, unit.last_line + 1)) for unit in units]
    if _is_in_order(units, ran, [unit.silent for unit in units]):
        return True
    # More statements never have an event: other passive ones, and those that the compiler has left out.
    if compile_s > _MAX_COMPILE_S or _compiles_slowly(program):
        return False
    known = _lines_with_events(program)
    return _is_in_order(units, ran, [known.isdisjoint(range(unit.first_line, unit.last_line + 1)) for unit in units])


def _is_in_order(units: Sequence[ExecutableUnit], ran: Sequence[bool], silent: Sequence[bool]) -> bool:
    """Return whether the last unit that has events ran before each unit that ran."""
    for unit, own in zip(units, ran, strict=True):
        before = unit.after
        while own and before is not None and silent[before]:
            before = units[before].after
        if own and before is not None and not ran[before]:
            return False
    return True


@lru_cache(maxsize=8)  # the lines of each test are checked after those of all tests
def _compiles_slowly(program: str) -> bool:
    """
    Return whether compiling a program here could take long. Its own process has a time limit, this one has none.

    The compiler writes a `finally` suite once for each way out of the `try`, and compares all equal functions.
    """
    tree = parse(program)
    if tree is None:
        return False
    num_functions = sum(isinstance(node, (*_FUNCTIONS, ast.ClassDef)) for node in ast.walk(tree))
    try:
        return num_functions > _MAX_FUNCTIONS or _compiled_size(tree).nodes > _MAX_COMPILED_NODES
    except RecursionError:
        return True


class _Compiled(NamedTuple):
    """Size of compiled code: syntax nodes, and ways out of it by `return`, `break` and `continue`."""

    nodes: int
    exits: int


def _compiled_size(node: ast.AST) -> _Compiled:
    """Return how much code the compiler makes of a node."""
    final: list[ast.stmt] = dict(ast.iter_fields(node)).get("finalbody", [])
    in_final = set(map(id, final))
    parts = [_compiled_size(child) for child in ast.iter_child_nodes(node) if id(child) not in in_final]
    nodes = 1 + sum(part.nodes for part in parts)
    exits = sum(part.exits for part in parts) + isinstance(node, (ast.Return, ast.Break, ast.Continue))
    if final:
        copies, last = exits + 2, [_compiled_size(child) for child in final]
        nodes += copies * sum(part.nodes for part in last)
        exits += copies * sum(part.exits for part in last)
    return _Compiled(nodes, 0 if isinstance(node, _FUNCTIONS) else exits)


@lru_cache(maxsize=8)
def _lines_with_events(program: str) -> frozenset[TLineNo]:
    """Return all lines that may have an event, by the tables of the compiled program. Empty if it does not compile."""
    try:
        with quiet_parser():
            code = compile_for_tracing(program, "solution.py")
    except COMPILE_ERRORS:
        return frozenset()
    return frozenset(_lines_of(code))


def _lines_of(code: CodeType) -> Iterable[TLineNo]:
    codes = [code]
    while codes:
        code = codes.pop()
        yield from (line for _, _, line in code.co_lines() if line)
        codes += (constant for constant in code.co_consts if isinstance(constant, CodeType))


def _was_entered(program: str, lines: Collection[TLineNo], name: str) -> bool:
    """Return `False` if a function returned a value although none of its lines ran. `True` if this is unknown."""
    tree = parse(program)
    if tree is None or any(word in program for word in _REPLACING):
        return True
    nodes = list(ast.walk(tree))
    if [bound for node in nodes for bound in _bound_names(node)].count(name) != 1:
        return True
    return all(
        _is_generator(node)
        or all(map(_is_passive, node.body))
        or any(node.body[0].lineno <= line <= (node.end_lineno or line) for line in lines)
        for node in nodes
        if isinstance(node, ast.FunctionDef) and node.name == name
    )


def _is_passive(statement: ast.stmt) -> bool:
    """Return whether a statement runs no code: a docstring or other constant, or a declaration."""
    if isinstance(statement, ast.Expr):
        return isinstance(statement.value, ast.Constant)
    declares = isinstance(statement, ast.AnnAssign) and statement.value is None
    return declares or isinstance(statement, (ast.Global, ast.Nonlocal))


def _is_generator(function: ast.FunctionDef) -> bool:
    return any(isinstance(node, (ast.Yield, ast.YieldFrom)) for node in ast.walk(function))


def _bound_names(node: ast.AST) -> list[str]:
    """Return the names that a node binds. Names that a decorator or metaclass may bind again are there twice."""
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
        return [node.name] * (2 if node.decorator_list else 1)
    if isinstance(node, ast.ClassDef):
        methods = [each.name for each in node.body if isinstance(each, ast.FunctionDef)]
        return [node.name, *methods] if node.decorator_list or node.keywords else [node.name]
    if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
        return [node.id]
    if isinstance(node, ast.Attribute) and not isinstance(node.ctx, ast.Load):
        return [node.attr]
    if isinstance(node, ast.alias):
        return [node.asname or node.name.partition(".")[0]]
    if isinstance(node, (ast.ExceptHandler, ast.MatchAs)) and node.name is not None:
        return [node.name]
    return []
