"""
Decide which tests can run in the examiner, by static analysis of the tests. Programs are never analysed.

A test such as `check(candidate)` is code of the dataset that calls the program. If it only calls functions of the
program with plain arguments, it runs in a separate process, the examiner, and the calls are sent to the program's
process as messages. Every other test runs with the program and is untrusted.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

from stepcoder_trl.executor.verdict.asserts import (
    BUILTIN_NAMES,
    PLAIN_ATTRIBUTES,
    arguments_of,
    is_one_of,
    is_singleton,
    last_name,
    names_class,
    names_in,
    root_name,
)
from stepcoder_trl.executor.verdict.imports import names_from_imports, names_from_numpy, narrowed, without_unused
from stepcoder_trl.executor.verdict.object_uses import TRANSFERABLE, Results, uses_as_object
from stepcoder_trl.executor.verdict.origins import may_combine_results
from stepcoder_trl.executor.verdict.setups import UNREADABLE, names_bound_by, names_made_by_module, names_used_by
from stepcoder_trl.executor.wire.exceptions import PURE_MODULES
from stepcoder_trl.executor.wire.messages import candidate_name
from stepcoder_trl.parsing import syntax_tree


# Names that need the program's namespace, process or terminal, or that could affect the next check. No check may catch
# `StopIteration`, because the examiner replaces the program's by another exception.
_FORBIDDEN_NAMES = frozenset(
    (
        *("open", "input", "exec", "eval", "compile", "globals", "locals", "vars", "breakpoint", "exit", "quit"),
        *("setattr", "delattr", "help", "memoryview", "id", "seed", "setstate", "StopIteration"),
        *("getcontext", "setcontext", "localcontext"),
    )
)
# Functions of modules that change settings of theirs, for the next checks, too.
_SETTINGS = frozenset(
    ("register", "seterr", "seterrcall", "setbufsize", "set_printoptions", "set_string_function", "set_state")
)
_ITERATORS = frozenset({"iter", "map", "filter", "zip", "reversed", "enumerate"})
# Functions whose results can be sent.
_MAKING_PLAIN = TRANSFERABLE | PLAIN_ATTRIBUTES | {"sorted", "len", "sum", "min", "max", "abs", "round", "chr", "ord"}
_PREAMBLE_STATEMENTS = (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.ClassDef)
_REPEATED = (
    *(ast.For, ast.While, ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp),
    *(ast.FunctionDef, ast.Lambda),
)


@dataclass(frozen=True)
class PlannedCheck:
    """Test that can run in the examiner."""

    statement: str  # functions of the program are replaced by `candidate_name`
    candidates: tuple[str, ...]  # expressions for these functions, evaluated in the program's process
    shares_arguments: bool  # whether the test may read an argument after the call, which may have changed it
    uses_preamble: bool  # to judge: the program can read it


@lru_cache(maxsize=1024)
def plan_check(statement: str, setup: str, preamble: str) -> PlannedCheck | None:
    """
    Plan the examination of a test, e.g. `check(Solution().solve)`.

    `setup` runs before the tests, `preamble` before the program, in its namespace. Returns `None` if the test must run
    with the program, because it does more than call it, or needs objects, input, output or state that messages cannot
    carry.
    """
    try:
        return _Plan(statement, setup, preamble).check()
    except (_MustRunWithProgram, *UNREADABLE):
        return None


@lru_cache(maxsize=1024)
def share_names(statements: tuple[str, ...]) -> bool:
    """Return whether a test uses names that another test binds. Tests that run apart would not find them."""
    try:
        bound = [names_bound_by(statement) for statement in statements]
        used = [names_used_by(statement) - own for statement, own in zip(statements, bound, strict=True)]
    except UNREADABLE:
        return True
    return bool(frozenset().union(*bound) & frozenset().union(*used))


def has_plain_arguments(expression: str, known: frozenset[str]) -> bool:
    """
    Return whether all arguments of the program in an expression can be sent, as far as the text tells.

    `known` are names that are not the program's.
    """
    calls = [node for node in ast.walk(syntax_tree(expression)) if isinstance(node, ast.Call)]
    others = known | BUILTIN_NAMES
    of_program = [call for call in calls if root_name(call.func) not in others]
    given = [part for call in of_program for argument in arguments_of(call) for part in ast.walk(argument)]
    functions = {id(part.func) for part in given if isinstance(part, ast.Call)}
    return not any(
        isinstance(part, (ast.Lambda, ast.GeneratorExp))
        or (
            isinstance(part, ast.Call) and root_name(part.func) in others and last_name(part.func) not in _MAKING_PLAIN
        )
        or (is_one_of(part, BUILTIN_NAMES) and id(part) not in functions)
        for part in given
    )


class _MustRunWithProgram(Exception):
    """Raised if a test must run with the program."""


class _Row:
    """What the plans of all tests of a row need of its setup and preamble, which may be large."""

    def __init__(self, setup: str, preamble: str) -> None:
        self.setup, self.preamble = syntax_tree(setup), syntax_tree(preamble)
        self.functions = _functions_of(self.setup)
        self.outer = names_bound_by(setup) | names_bound_by(preamble)
        self.used = names_used_by(setup)
        self.modules = names_from_imports(self.setup, self.preamble)
        self.numpy_names = names_from_numpy(self.setup, self.preamble)
        bodies = (*self.setup.body, *self.preamble.body)
        self.classes = frozenset(node.name for node in bodies if isinstance(node, ast.ClassDef))
        self.defined = names_made_by_module(preamble).difference(map(_name_of_infinity, self.preamble.body))
        self.uses_of_defined = [node for node in ast.walk(self.setup) if is_one_of(node, self.defined)]
        self.definitions: dict[str, ast.stmt] = {}
        self.is_plain = True  # whether the preamble holds definitions alone
        for node in self.preamble.body:
            assigns = isinstance(node, ast.Assign) and all(isinstance(target, ast.Name) for target in node.targets)
            is_text = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
            self.is_plain &= isinstance(node, _PREAMBLE_STATEMENTS) or assigns or is_text
            self.definitions.update(dict.fromkeys(names_bound_by(ast.unparse(node)), node))
        # By statement, which this object keeps alive.
        self._needs_program: dict[int, bool] = {}
        self._names_used: dict[int, frozenset[str]] = {}

    def needs_program(self, node: ast.stmt) -> bool:
        """Return whether a statement does more than a trusted process may do. Imports may be of another object."""
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            return _needs_program(node)
        if id(node) not in self._needs_program:
            self._needs_program[id(node)] = any(map(_needs_program, ast.walk(node)))
        return self._needs_program[id(node)]

    def names_used_by(self, node: ast.stmt) -> frozenset[str]:
        """Return the names that a statement of the preamble uses."""
        if id(node) not in self._names_used:
            self._names_used[id(node)] = names_used_by(ast.unparse(node))
        return self._names_used[id(node)]


_row = lru_cache(maxsize=16)(_Row)


class _Plan:
    def __init__(self, statement: str, setup: str, preamble: str) -> None:
        self.row = _row(setup, preamble)
        self.statement = syntax_tree(statement)
        self.functions = {**self.row.functions, **_functions_of(self.statement)}
        self.outer = self.row.outer
        known = self.outer | BUILTIN_NAMES
        if self.row.used - known:
            raise _MustRunWithProgram  # e.g. HumanEval/32: the check calls a function of the prompt
        self.program_names = names_used_by(statement) - known - names_bound_by(statement)
        self.used = self.row.used | names_used_by(statement)
        self.shown = self.row.defined & self.used
        self.modules = self.row.modules | names_from_imports(self.statement)
        self.numpy_names = self.row.numpy_names | names_from_numpy(self.statement)
        self.calls: list[ast.Call] = []  # calls of the program

    def check(self) -> PlannedCheck:
        setup = (without_unused(node, self.used) for node in self.row.setup.body)
        if any(map(self.row.needs_program, (*setup, *self.used_preamble()))):
            raise _MustRunWithProgram
        if any(map(_needs_program, ast.walk(self.statement))):
            raise _MustRunWithProgram
        candidates = _Candidates(self.program_names)
        statement = ast.fix_missing_locations(candidates.visit(self.statement))
        if not candidates.expressions:
            raise _MustRunWithProgram  # e.g. `check(sum)`: Python's `sum`, or the program's?
        names = {candidate_name(number): ast.unparse(node) for number, node in enumerate(candidates.expressions)}
        if may_combine_results(self.statement.body, names, self.modules, self.outer):
            raise _MustRunWithProgram
        self.follow(statement, set(names), depth=0)
        return PlannedCheck(
            statement=ast.unparse(statement),
            candidates=tuple(map(ast.unparse, candidates.expressions)),
            shares_arguments=any(map(_takes_variables, self.calls)),
            uses_preamble=self.uses_preamble(),
        )

    def uses_preamble(self) -> bool:
        """Return whether the test uses what the preamble defines, other than in arguments of the program."""
        given = {id(part) for call in self.calls for argument in arguments_of(call) for part in ast.walk(argument)}
        nodes = (*self.row.uses_of_defined, *ast.walk(self.statement))
        return any(is_one_of(node, self.shown) and id(node) not in given for node in nodes)

    def used_preamble(self) -> list[ast.stmt]:
        """Return the statements of the preamble that the test uses. They must not define classes."""
        if not self.row.is_plain:
            raise _MustRunWithProgram
        definitions = self.row.definitions
        found: dict[str, ast.stmt] = {}
        waiting = list(self.used)
        while waiting:
            name = waiting.pop()
            if name in self.row.classes:
                raise _MustRunWithProgram  # e.g. LeetCode's ListNode, which cannot be sent
            if name in definitions and name not in found:
                found[name] = definitions[name]
                waiting += self.row.names_used_by(found[name])
        # Keep only the used names of an import.
        return [narrowed(node, found) for node in dict.fromkeys(found.values())]

    def follow(self, code: ast.AST, names: set[str], depth: int) -> None:
        """Collect the calls of the program's functions in code that knows them under these names."""
        if depth > 8:
            raise _MustRunWithProgram
        called: set[int] = set()
        own_calls: list[ast.Call] = []
        unsent = self.unsent_names(code)
        for node in ast.walk(code):
            if not isinstance(node, ast.Call):
                continue
            if is_one_of(node.func, names):
                called.add(id(node.func))
                own_calls.append(node)
                self.refuse_arguments_that_cannot_be_sent(node, unsent)
            for parameter, argument in self.passed_on(node, names):
                called.add(id(argument))
                own_calls.append(node)
                function = self.functions[last_name(node.func)]
                if function.decorator_list or _rebinds(function, parameter):
                    raise _MustRunWithProgram
                self.follow(ast.Module(function.body, []), {parameter}, depth + 1)
        for node in ast.walk(code):
            if is_one_of(node, names) and id(node) not in called:
                raise _MustRunWithProgram  # e.g. `candidate.__name__`, `candidate = ...`
        self.calls += [call for call in own_calls if is_one_of(call.func, names)]
        results = Results(code, own_calls, self.modules, self.numpy_names)
        if any(uses_as_object(node, results) for node in ast.walk(code)):
            raise _MustRunWithProgram

    def passed_on(self, call: ast.Call, names: set[str]) -> Iterator[tuple[str, ast.expr]]:
        """Yield each parameter of a setup's function to which this call passes a function of the program."""
        if not is_one_of(call.func, self.functions):
            return
        parameters = self.functions[call.func.id].args
        positional = [parameter.arg for parameter in (*parameters.posonlyargs, *parameters.args)]
        keywords = {*positional, *(parameter.arg for parameter in parameters.kwonlyargs)}
        passed = [*zip(positional, call.args, strict=False), *((word.arg, word.value) for word in call.keywords)]
        for parameter, argument in passed:
            if parameter in keywords and is_one_of(argument, names):
                yield parameter, argument

    def refuse_arguments_that_cannot_be_sent(self, call: ast.Call, unsent: frozenset[str]) -> None:
        if any(self.cannot_be_sent(argument, unsent) for argument in arguments_of(call)):
            raise _MustRunWithProgram

    def unsent_names(self, code: ast.AST) -> frozenset[str]:
        """Return the names of functions, iterators and arrays that code knows."""
        names = {*self.functions, *BUILTIN_NAMES}
        for node in ast.walk(code):
            if isinstance(node, ast.FunctionDef):
                names.add(node.name)
            elif isinstance(node, ast.Assign) and self.cannot_be_sent(node.value, frozenset()):
                names.update(name for target in node.targets for name in names_in(target))
        return frozenset(names)

    def cannot_be_sent(self, expression: ast.expr, unsent: frozenset[str]) -> bool:
        """Return whether the value of an expression is a function, an iterator or an array, or a list of such."""
        if isinstance(expression, (ast.List, ast.Tuple)):
            return any(self.cannot_be_sent(element, unsent) for element in expression.elts)
        if isinstance(expression, ast.Call):
            function = expression.func
            while isinstance(function, ast.Attribute):
                function = function.value
            return is_one_of(expression.func, _ITERATORS) or is_one_of(function, self.numpy_names)
        return is_one_of(expression, unsent) or isinstance(expression, (ast.Lambda, ast.GeneratorExp))


class _Candidates(ast.NodeTransformer):
    """Replace functions of the program, such as `f` or `Solution().f`, by names for the examiner."""

    def __init__(self, program_names: frozenset[str]) -> None:
        self.program_names = program_names
        self.expressions: list[ast.expr] = []
        self.repeated = 0

    def visit(self, node: ast.AST) -> ast.AST:
        if isinstance(node, (ast.Name, ast.Attribute)) and self.is_candidate(node):
            self.expressions.append(node)
            return ast.Name(candidate_name(len(self.expressions) - 1), ast.Load())
        if is_one_of(node, self.program_names):
            raise _MustRunWithProgram
        if isinstance(node, ast.Call) and names_class(node.func) and is_one_of(node.func, self.program_names):
            raise _MustRunWithProgram  # its objects may have operators and methods of their own
        self.repeated += isinstance(node, _REPEATED)
        changed: ast.AST = self.generic_visit(node)
        self.repeated -= isinstance(node, _REPEATED)
        return changed

    def is_candidate(self, node: ast.expr) -> bool:
        if isinstance(node, ast.Attribute):
            owner = node.value
            if isinstance(owner, ast.Call) and not owner.args and not owner.keywords and not self.repeated:
                is_answer = node.attr in PLAIN_ATTRIBUTES and not names_class(owner.func)
                return is_one_of(owner.func, self.program_names) and not is_answer  # a method of a new object
            # A method of a value, as in `RESULT.equals([1])`, would be given what is expected.
            return names_class(owner) and not last_name(owner).isupper() and self.is_candidate(owner)
        return is_one_of(node, self.program_names) and isinstance(node.ctx, ast.Load)


def _functions_of(tree: ast.Module) -> dict[str, ast.FunctionDef]:
    return {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}


def _name_of_infinity(node: ast.stmt) -> str:
    """Return the name that `inf = float("inf")` binds, which tells as little as an import. Else an empty text."""
    match node:
        case ast.Assign(targets=[ast.Name(id=name)], value=value) if ast.unparse(value) == "float('inf')":
            return name
    return ""


def _needs_program(node: ast.AST) -> bool:
    """Return whether code does more than a trusted process may do, or could affect the next check."""
    if isinstance(node, ast.Import):
        return any(alias.name.partition(".")[0] not in PURE_MODULES for alias in node.names)
    if isinstance(node, ast.ImportFrom):
        names = {alias.name for alias in node.names}
        root = (node.module or "").partition(".")[0]
        refused = {"*", *_FORBIDDEN_NAMES, *_SETTINGS}
        return bool(names) and bool(node.level or root not in PURE_MODULES or names & refused)
    if isinstance(node, ast.Name):
        return node.id in _FORBIDDEN_NAMES or node.id.startswith("__")
    if isinstance(node, ast.Attribute):
        # `random.seed` and `math.pi = 3` would affect the next check. `f.__globals__` gives access to everything.
        is_hidden = node.attr.startswith("__") or node.attr in _FORBIDDEN_NAMES | _SETTINGS
        return is_hidden or not isinstance(node.ctx, ast.Load)
    if isinstance(node, ast.Compare):
        sides = zip(node.ops, [node.left, *node.comparators], node.comparators, strict=False)
        return any(
            isinstance(operator, (ast.Is, ast.IsNot)) and not (is_singleton(left) or is_singleton(right))
            for operator, left, right in sides
        )
    return isinstance(node, (ast.AsyncFunctionDef, ast.AsyncFor, ast.AsyncWith, ast.Await, ast.ClassDef))


def _rebinds(function: ast.FunctionDef, parameter: str) -> bool:
    """Return whether code inside a function binds the name of its parameter again."""
    nodes = list(ast.walk(function))
    return (
        any(is_one_of(node, {parameter}) and not isinstance(node.ctx, ast.Load) for node in nodes)
        or any(isinstance(node, (ast.Global, ast.Nonlocal)) and parameter in node.names for node in nodes)
        or sum(isinstance(node, ast.arg) and node.arg == parameter for node in nodes) > 1
    )


def _takes_variables(call: ast.Call) -> bool:
    """Return whether an argument uses a variable, so that the test can read its value after the call."""
    functions = {id(node.func) for node in ast.walk(call) if isinstance(node, ast.Call)}
    return any(
        isinstance(node, ast.Name) and id(node) not in functions
        for argument in arguments_of(call)
        for node in ast.walk(argument)
    )
