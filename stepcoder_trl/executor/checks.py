"""
Which tests an examiner can take: static analysis of the tests alone, never of a program.

A test such as `check(candidate)` is code of the data set that calls the program. Where it needs nothing of the
program but calls with plain arguments, it runs in a process of its own, the examiner, and the calls go to the
program's process as messages (`examiner.py`). Everything else runs with the program, and is not trusted.
"""

from __future__ import annotations

import ast
import builtins
import symtable
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache

from stepcoder_trl.parsing import syntax_tree


# Modules without state that a program and its test might share, and without doors to the outside.
_PURE_MODULES = frozenset(
    (
        *("array", "bisect", "cmath", "collections", "copy", "dataclasses", "datetime", "decimal", "enum"),
        *("fractions", "functools", "heapq", "itertools", "json", "math", "numbers", "numpy", "operator"),
        *("random", "re", "statistics", "string", "textwrap", "typing", "unicodedata"),
    )
)
# What needs the program's namespace, process or terminal, or could leave something behind for the next check. Programs
# cannot end a check's iterations: none may wait for it.
_FORBIDDEN_NAMES = frozenset(
    (
        *("open", "input", "exec", "eval", "compile", "globals", "locals", "vars", "breakpoint", "exit", "quit"),
        *("setattr", "delattr", "help", "memoryview", "id", "seed", "setstate", "StopIteration"),
        *("getcontext", "setcontext", "localcontext"),
    )
)
_BUILTIN_NAMES = frozenset(dir(builtins))
_PLAIN_TYPES = (bool, int, float, complex, str, bytes, list, tuple, set, frozenset, dict, range)
_PLAIN_ATTRIBUTES = frozenset(name for kind in _PLAIN_TYPES for name in dir(kind))
_ASK_FOR_MORE = frozenset({"next", "callable", "iter"})  # than stand-ins for objects offer
_CARRIED = frozenset(
    (
        *(kind.__name__ for kind in _PLAIN_TYPES),
        *("Counter", "OrderedDict", "defaultdict", "deque", "bytearray", "array", "Fraction", "Decimal"),
        *("date", "time", "datetime", "timedelta"),
    )
)
_PREAMBLE_STATEMENTS = (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.ClassDef)
_FUNCTIONS = (ast.FunctionDef, ast.Lambda)
_REPEATED = (ast.For, ast.While, ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp, *_FUNCTIONS)


@dataclass(frozen=True)
class Check:
    """
    Test that an examiner can take.

    Attributes:
        statement (`str`): Its code, with names of [`candidate_name`] where it calls the program.
        candidates (`tuple[str, ...]`): Expressions that name these functions, for the program's process.
        shares_arguments (`bool`): Whether it may look at an argument after the call, which changed it.
        may_fall_back (`bool`):
            Whether arguments are made without results of the program. If then one turns out not to be plain, that is
            the test's doing, and it may run with the program instead.
    """

    statement: str
    candidates: tuple[str, ...]
    shares_arguments: bool
    may_fall_back: bool


def candidate_name(number: int) -> str:
    """Name that stands for a function of the program in an examiner's code."""
    return f"_candidate_{number}"


@lru_cache(maxsize=4096)
def plan_check(statement: str, setup: str, preamble: str) -> Check | None:
    """
    Find out whether an examiner can take a test.

    Args:
        statement (`str`): Python source of the test, e.g. `"check(Solution().solve)"`.
        setup (`str`): Code that the tests run before.
        preamble (`str`): Code that programs find in scope.

    Returns:
        `Check` or `None`: `None` if the test must run with the program: its code needs a name of the program for
        something else than a call, or objects, input, output or state that a message does not carry.
    """
    try:
        return _Plan(statement, setup, preamble).check()
    except (_WithProgram, SyntaxError, ValueError, RecursionError, MemoryError):
        return None


@lru_cache(maxsize=1024)
def functions_of(setup: str) -> frozenset[str]:
    """Names of the functions that a setup defines."""
    try:
        return frozenset(node.name for node in syntax_tree(setup).body if isinstance(node, ast.FunctionDef))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return frozenset()


@lru_cache(maxsize=4096)
def binds_names(statement: str) -> bool:
    """Whether a test leaves names in its module, which a later one may use."""
    try:
        return bool(_bound_by(statement))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return True


@lru_cache(maxsize=8192)
def root_name(expression: str) -> str:
    """Name of the function that an expression calls in the end: `f` of `len(f(2))`; empty if there is none."""
    (statement,) = syntax_tree(expression).body
    assert isinstance(statement, ast.Expr)
    node = statement.value
    while not isinstance(node, ast.Name):
        if isinstance(node, ast.Call):
            wrapped = node.args if isinstance(node.func, ast.Name) and node.func.id in _BUILTIN_NAMES else ()
            node = wrapped[0] if wrapped else node.func
        elif isinstance(node, (ast.Attribute, ast.Subscript)):
            node = node.value
        else:
            return ""
    return node.id


class _WithProgram(Exception):
    """The test must run with the program."""


class _Plan:
    def __init__(self, statement: str, setup: str, preamble: str) -> None:
        self.setup = syntax_tree(setup)
        self.statement = syntax_tree(statement)
        self.preamble = syntax_tree(preamble)
        self.functions = {node.name: node for node in self.setup.body if isinstance(node, ast.FunctionDef)}
        known = _bound_by(setup) | _bound_by(preamble) | _BUILTIN_NAMES
        if _used_by(setup) - known:
            raise _WithProgram  # e.g. HumanEval/32: the check calls a function of the prompt
        self.program_names = _used_by(statement) - known - _bound_by(statement)
        self.used = _used_by(setup) | _used_by(statement)
        self.modules = frozenset(
            alias.asname or alias.name.partition(".")[0]
            for tree in (self.setup, self.preamble, self.statement)
            for node in ast.walk(tree)
            if isinstance(node, (ast.Import, ast.ImportFrom))
            for alias in node.names
        )
        self.calls: list[ast.Call] = []  # those that reach the program
        self.tainted = False

    def check(self) -> Check:
        trees = [self.setup, self.statement, *self.used_preamble()]
        for tree in trees:
            for node in ast.walk(tree):
                _refuse_what_needs_the_program(node)
        candidates = _Candidates(self.program_names)
        statement = ast.fix_missing_locations(candidates.visit(self.statement))
        if not candidates.expressions:
            raise _WithProgram  # e.g. `check(sum)`: whose `sum`?
        names = {candidate_name(number): ast.unparse(node) for number, node in enumerate(candidates.expressions)}
        if any(_mixes_answers(node, names) for node in ast.walk(statement)):
            raise _WithProgram
        self.follow(statement, set(names), depth=0)
        return Check(
            statement=ast.unparse(statement),
            candidates=tuple(map(ast.unparse, candidates.expressions)),
            shares_arguments=any(map(_takes_variables, self.calls)),
            may_fall_back=not self.tainted,
        )

    def used_preamble(self) -> list[ast.stmt]:
        """Statements of the preamble that the test uses; none may make objects of classes of their own."""
        bodies = (*self.setup.body, *self.preamble.body)
        objects = {node.name for node in bodies if isinstance(node, ast.ClassDef)}
        definitions: dict[str, ast.stmt] = {}
        for node in self.preamble.body:
            assigns = isinstance(node, ast.Assign) and all(isinstance(target, ast.Name) for target in node.targets)
            if not (isinstance(node, _PREAMBLE_STATEMENTS) or assigns or _is_text(node)):
                raise _WithProgram
            definitions.update(dict.fromkeys(_bound_by(ast.unparse(node)), node))
        found: dict[str, ast.stmt] = {}
        waiting = list(self.used)
        while waiting:
            name = waiting.pop()
            if name in objects:
                raise _WithProgram  # e.g. LeetCode's ListNode: no message carries it
            if name in definitions and name not in found:
                found[name] = definitions[name]
                waiting += _used_by(ast.unparse(found[name]))
        # An import binds many names: only those that are used count.
        return [_narrowed(node, found) for node in dict.fromkeys(found.values())]

    def follow(self, code: ast.AST, names: set[str], depth: int) -> None:
        """Collect the calls that reach the program from a piece of code in which it has these names."""
        if depth > 1:
            self.tainted = True  # handed on from function to function: too far to follow its results
        if depth > 8:
            raise _WithProgram
        called: set[int] = set()
        own_calls: list[ast.Call] = []
        for node in ast.walk(code):
            if not isinstance(node, ast.Call):
                continue
            if _is_one_of(node.func, names):
                called.add(id(node.func))
                own_calls.append(node)
                self.refuse_functions_as_arguments(node)
            for parameter, argument in self.handed_on(node, names):
                called.add(id(argument))
                assert isinstance(node.func, ast.Name)
                own_calls.append(node)
                self.follow_into(self.functions[node.func.id], parameter, depth)
        for node in ast.walk(code):
            if _is_one_of(node, names) and id(node) not in called:
                raise _WithProgram  # e.g. `candidate.__name__`, `candidate = ...`
        self.calls += [call for call in own_calls if _is_one_of(call.func, names)]
        results = _Results(code, own_calls, self.modules)
        self.tainted |= any(results.reach(argument) for call in own_calls for argument in _arguments(call))
        if any(_treats_as_object(node, results) for node in ast.walk(code)):
            raise _WithProgram

    def handed_on(self, call: ast.Call, names: set[str]) -> Iterator[tuple[str, ast.expr]]:
        """Parameters of a function of the setup that get the program's function in this call."""
        if not (isinstance(call.func, ast.Name) and call.func.id in self.functions):
            return
        parameters = self.functions[call.func.id].args
        positional = [parameter.arg for parameter in (*parameters.posonlyargs, *parameters.args)]
        for position, argument in enumerate(call.args):
            if _is_one_of(argument, names) and position < len(positional):
                yield positional[position], argument
        keywords = {*positional, *(parameter.arg for parameter in parameters.kwonlyargs)}
        for keyword in call.keywords:
            if _is_one_of(keyword.value, names) and keyword.arg in keywords:
                assert keyword.arg is not None
                yield keyword.arg, keyword.value

    def follow_into(self, function: ast.FunctionDef, parameter: str, depth: int) -> None:
        if function.decorator_list or any(_binds(node, parameter) for node in ast.walk(function)):
            raise _WithProgram
        body = ast.Module(function.body, [])
        self.follow(body, {parameter}, depth + 1)

    def refuse_functions_as_arguments(self, call: ast.Call) -> None:
        for argument in _arguments(call):
            is_function = isinstance(argument, ast.Name) and argument.id in {*self.functions, *_BUILTIN_NAMES}
            if is_function or isinstance(argument, (ast.Lambda, ast.GeneratorExp)):
                raise _WithProgram


class _Candidates(ast.NodeTransformer):
    """Replaces what names a function of the program, as `f` or `Solution().f`, by a name for the examiner."""

    def __init__(self, program_names: frozenset[str]) -> None:
        self.program_names = program_names
        self.expressions: list[ast.expr] = []
        self.repeated = 0

    def visit(self, node: ast.AST) -> ast.AST:
        if isinstance(node, (ast.Name, ast.Attribute)) and self.is_candidate(node):
            self.expressions.append(node)
            return ast.Name(candidate_name(len(self.expressions) - 1), ast.Load())
        if isinstance(node, ast.Name) and node.id in self.program_names:
            raise _WithProgram
        self.repeated += isinstance(node, _REPEATED)
        changed: ast.AST = self.generic_visit(node)
        self.repeated -= isinstance(node, _REPEATED)
        return changed

    def is_candidate(self, node: ast.expr) -> bool:
        if isinstance(node, ast.Attribute):
            return self.is_candidate(node.value) or self.is_new_object(node.value)
        return isinstance(node, ast.Name) and node.id in self.program_names and isinstance(node.ctx, ast.Load)

    def is_new_object(self, node: ast.expr) -> bool:
        if not (isinstance(node, ast.Call) and not node.args and not node.keywords and not self.repeated):
            return False
        return isinstance(node.func, ast.Name) and node.func.id in self.program_names


class _Results:
    """Names in a piece of code whose values may depend on what the program answered."""

    def __init__(self, code: ast.AST, calls: list[ast.Call], modules: frozenset[str]) -> None:
        self.calls = {id(call) for call in calls}
        self.modules = modules
        self.names: set[str] = set()
        while True:
            before = len(self.names)
            for node in ast.walk(code):
                self.spread(node)
            if len(self.names) == before:
                return

    def spread(self, node: ast.AST) -> None:
        if isinstance(node, (ast.Assign, ast.AugAssign, ast.AnnAssign, ast.NamedExpr)):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            if node.value is not None and self.reach(node.value):
                self.names.update(name for target in targets for name in _names_in(target))
        elif isinstance(node, (ast.For, ast.comprehension)) and self.reach(node.iter):
            self.names.update(_names_in(node.target))
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            changed = any(map(self.reach, _arguments(node)))  # as `seen` by `seen.append(candidate(1))`
            self.names.update(set(_names_in(node.func.value)) - self.modules if changed else ())

    def are_asked_of(self, node: ast.AST) -> bool:
        """Whether an expression is an answer itself: a call of the program, or a name or part of one."""
        while isinstance(node, ast.Subscript):
            node = node.value
        return id(node) in self.calls or (isinstance(node, ast.Name) and node.id in self.names)

    def reach(self, node: ast.AST) -> bool:
        """Whether an expression may depend on an answer."""
        return any(
            id(part) in self.calls or (isinstance(part, ast.Name) and part.id in self.names) for part in ast.walk(node)
        )


def _mixes_answers(node: ast.AST, functions: Mapping[str, str]) -> bool:
    """Whether answers of two functions meet, which may be objects: `same(Node(1), Node(1))`, `f(1) == Node(2)`."""
    if isinstance(node, ast.Compare):
        sides = {_asked(side, functions) for side in (node.left, *node.comparators)}
        return len(sides - {None}) > 1
    own = _asked(node, functions)
    if own is None or not isinstance(node, ast.Call):
        return False
    return any(_asked(part, functions) not in (None, own) for item in _arguments(node) for part in ast.walk(item))


def _asked(node: ast.AST, functions: Mapping[str, str]) -> str | None:
    """Which of these functions an expression calls, if it is such a call."""
    is_call = isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    return functions.get(node.func.id) if is_call else None  # type: ignore[attr-defined]


def _treats_as_object(node: ast.AST, results: _Results) -> bool:
    """Whether code expects more of an answer than messages carry: `f(1).left`, `f(1)(2)`, `next(f(1))`."""
    if isinstance(node, ast.Attribute):
        return node.attr not in _PLAIN_ATTRIBUTES and results.are_asked_of(node.value)
    if not isinstance(node, ast.Call):
        return False
    name = node.func.id if isinstance(node.func, ast.Name) else ""
    if name == "isinstance" and len(node.args) == 2 and results.are_asked_of(node.args[0]):
        kinds = node.args[1].elts if isinstance(node.args[1], ast.Tuple) else [node.args[1]]
        return not all(_last_name(kind) in _CARRIED for kind in kinds)
    return results.are_asked_of(node.args[0] if name in _ASK_FOR_MORE and node.args else node.func)


def _last_name(node: ast.expr) -> str:
    """`deque` of `collections.deque` and of `deque`."""
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


def _refuse_what_needs_the_program(node: ast.AST) -> None:
    if isinstance(node, ast.Import):
        refused = any(alias.name.partition(".")[0] not in _PURE_MODULES for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        names = {alias.name for alias in node.names}
        root = (node.module or "").partition(".")[0]
        refused = bool(node.level or root not in _PURE_MODULES or "*" in names or names & _FORBIDDEN_NAMES)
    elif isinstance(node, ast.Name):
        refused = node.id in _FORBIDDEN_NAMES or node.id.startswith("__")
    elif isinstance(node, ast.Attribute):
        # `random.seed` and `math.pi = 3` would reach the next check, `f.__globals__` anything at all
        hidden = node.attr.startswith("__") or node.attr in _FORBIDDEN_NAMES
        refused = hidden or not isinstance(node.ctx, ast.Load)
    elif isinstance(node, ast.Compare):
        refused = any(
            isinstance(operator, (ast.Is, ast.IsNot)) and not (_is_singleton(left) or _is_singleton(right))
            for operator, left, right in zip(
                node.ops, [node.left, *node.comparators[:-1]], node.comparators, strict=True
            )
        )
    else:
        refused = isinstance(node, (ast.AsyncFunctionDef, ast.AsyncFor, ast.AsyncWith, ast.Await, ast.ClassDef))
    if refused:
        raise _WithProgram


def _used_by(source: str) -> frozenset[str]:
    """Names that code looks up in its module, wherever in it."""
    return frozenset(_globals_of(symtable.symtable(source, "<tests>", "exec")))


def _globals_of(table: symtable.SymbolTable) -> Iterator[str]:
    top = table.get_type() == "module"
    for symbol in table.get_symbols():
        if symbol.is_referenced() and (top or symbol.is_global()):
            yield symbol.get_name()
    for child in table.get_children():
        yield from _globals_of(child)


def _bound_by(source: str) -> frozenset[str]:
    """Names that code binds in its module."""
    table = symtable.symtable(source, "<tests>", "exec")
    return frozenset(
        symbol.get_name() for symbol in table.get_symbols() if symbol.is_assigned() or symbol.is_imported()
    )


def _narrowed(node: ast.stmt, used: dict[str, ast.stmt]) -> ast.stmt:
    if isinstance(node, ast.Import):
        return ast.Import([alias for alias in node.names if (alias.asname or alias.name).partition(".")[0] in used])
    if isinstance(node, ast.ImportFrom):
        aliases = [alias for alias in node.names if alias.name == "*" or (alias.asname or alias.name) in used]
        return ast.ImportFrom(node.module, aliases, node.level)
    return node


def _binds(node: ast.AST, name: str) -> bool:
    """Whether a node inside a function gives a name another meaning there."""
    if isinstance(node, ast.Name):
        return node.id == name and not isinstance(node.ctx, ast.Load)
    if isinstance(node, (ast.Global, ast.Nonlocal)):
        return name in node.names
    if isinstance(node, ast.Lambda):
        return any(argument.arg == name for argument in ast.walk(node.args) if isinstance(argument, ast.arg))
    return isinstance(node, ast.FunctionDef) and any(
        inner is not node and isinstance(inner, ast.arg) and inner.arg == name
        for child in node.body
        for inner in ast.walk(child)
    )


def _takes_variables(call: ast.Call) -> bool:
    """Whether an argument is something that the test may still hold, rather than a value made for the call."""
    functions = {id(node.func) for node in ast.walk(call) if isinstance(node, ast.Call)}
    return any(
        isinstance(node, ast.Name) and id(node) not in functions
        for argument in _arguments(call)
        for node in ast.walk(argument)
    )


def _arguments(call: ast.Call) -> list[ast.expr]:
    return [*call.args, *(keyword.value for keyword in call.keywords)]


def _names_in(node: ast.AST) -> Iterator[str]:
    return (part.id for part in ast.walk(node) if isinstance(part, ast.Name))


def _is_one_of(node: ast.AST, names: set[str]) -> bool:
    return isinstance(node, ast.Name) and node.id in names


def _is_text(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def _is_singleton(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and (node.value is None or isinstance(node.value, bool))
