"""
Find programs that may remember between tests which share a process.

The second call of a memoised function does not run the lines that made its answer. So the lines that a test runs are
not all that its outcome depends on, and every test of such a program is given the lines of all tests. The rules look
at the text alone, and prefer to find too many.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from enum import Enum, auto

from stepcoder_trl.executor.verdict.examinable import share_names
from stepcoder_trl.executor.verdict.schema import Tests
from stepcoder_trl.parsing import parse


class Sharing(Enum):
    """What the tests of a program share."""

    NOTHING = auto()  # each has a fresh module, or there is one test
    MODULE = auto()  # the module of the program
    OBJECTS = auto()  # and objects that the tests themselves make


# Words of programs whose objects may change by other means than those below.
_WORDS = ("cache", "memo", "globals", "setattr", "exec", "__dict__", "import *", "sys.modules", "__class__", "vars(")

# Lines of programs that have no object that could change: no default, no decorator, no variable of the module.
_HEADER = r"def \w+\([^=]*:"
_LINE = rf"(?:import|from) [^;]*|{_HEADER}|#.*|"
_OF_FUNCTIONS = re.compile(rf"{_LINE}|[ \t].*")
_OF_METHODS = re.compile(rf"{_LINE}|class \w+(?:\(object\))?:| {{4}}{_HEADER}| {{4}}#.*| *| {{5}}.*")
_OWNER = re.compile(r"^(?:def|class) (\w+)", re.MULTILINE)

_Function = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
_NEVER_CHANGE = (ast.Constant, ast.JoinedStr, ast.Lambda, ast.Compare)
_ITERATORS = frozenset(("iter", "map", "filter", "zip", "enumerate", "reversed", "open", "count", "cycle"))
# Functions that return an object which never changes.
_OF_VALUES = frozenset(
    (
        "int",
        "float",
        "complex",
        "str",
        "bytes",
        "bool",
        "tuple",
        "frozenset",
        "len",
        "ord",
        "chr",
        "round",
        "abs",
        "range",
    )
)
# Functions that change none of their arguments.
_READERS = _OF_VALUES | {
    *(
        "sum",
        "min",
        "max",
        "sorted",
        "any",
        "all",
        "list",
        "set",
        "dict",
        "print",
        "isinstance",
        "type",
        "repr",
        "hash",
    ),
    *("iter", "map", "filter", "zip", "enumerate", "reversed", "bisect", "bisect_left", "bisect_right", "deepcopy"),
}
# Methods that change nothing.
_READING_METHODS = frozenset(
    (
        *("get", "keys", "values", "items", "index", "count", "copy", "join", "split", "strip", "find", "rfind"),
        *("startswith", "endswith", "format", "lower", "upper", "replace", "isdigit", "isalpha", "isalnum", "encode"),
        *("union", "intersection", "difference", "symmetric_difference", "issubset", "issuperset", "isdisjoint"),
    )
)


def sharing_of(tests: Tests, num_tests: int, fresh_process_per_test: bool) -> Sharing:
    """Return what the tests of a program share."""
    if tests["type"] not in ("call", "assert") or num_tests < 2 or fresh_process_per_test:
        return Sharing.NOTHING
    if tests["type"] == "assert" and (share_names(tuple(tests["asserts"])) or _makes_objects(tests["setup"])):
        return Sharing.OBJECTS
    return Sharing.MODULE


def _makes_objects(setup: str) -> bool:
    tree = parse(setup)
    if tree is None:
        return True
    assigned = [node for node in tree.body if isinstance(node, (ast.Assign, ast.AnnAssign, ast.AugAssign))]
    return any(isinstance(node, ast.Call) for statement in assigned for node in ast.walk(statement))


def remembers(program: str) -> bool:
    """
    Return whether a program may keep something from one test for the next, in a process that both share.

    That is so with a cache, a mutable default, `global`, a decorator of its own, a closure or an instance made at the
    module level, and where a function may change an object of the module or of a class.
    """
    lowered = program.lower()
    if any(word in lowered for word in _WORDS):
        return True
    if _has_only_functions(program):
        return False
    tree = parse(program)
    try:
        return tree is None or _Search(tree).finds_memory()
    except RecursionError:
        return True


def _has_only_functions(program: str) -> bool:
    """
    Return whether the lines of a text show that a program has only imports, functions, and classes of methods.

    This saves most programs their syntax tree. A program of another form may have only functions, too.
    """
    if any(word in program for word in ("global", "cls", "type(", "\r")):
        return False
    allowed = _OF_METHODS if "\nclass " in f"\n{program}" else _OF_FUNCTIONS
    if not all(allowed.fullmatch(line) for line in program.split("\n")):
        return False
    return not any(f"{name}." in program for name in _OWNER.findall(program))


class _Search:
    def __init__(self, tree: ast.Module) -> None:
        self.tree = tree
        nodes = list(_outside_functions(tree))
        self.functions = {node.name: node for node in tree.body if isinstance(node, _FUNCTIONS[:2])}
        self.classes = {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}
        imports = [node for node in nodes if isinstance(node, (ast.Import, ast.ImportFrom))]
        self.imported = {(name.asname or name.name).partition(".")[0] for node in imports for name in node.names}
        assigned = {node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
        values = dict(self._values(tree))
        # Variables of the module, and attributes of its classes, with an object that may change.
        self.variables = {name for name in assigned if name not in values or self._may_change(values[name])}
        self.iterators = {name for name, value in values.items() if _is_iterator(value)}
        self.attributes = {
            name
            for node in ast.walk(tree)
            if isinstance(node, ast.ClassDef)
            for name, value in self._values(node)
            if self._may_change(value)
        }

    def finds_memory(self) -> bool:
        """Return whether a rule of `remembers` applies."""
        every = list(ast.walk(self.tree))
        return (
            any(isinstance(node, ast.Global) for node in every)
            or any(self._keeps_defaults(node) for node in every if isinstance(node, _FUNCTIONS))
            or any(self._has_own_decorator(node) for node in every)
            or any(self._makes_memory(node) for value in self._kept_values() for node in _outside_functions(value))
            or any(
                self._changes_shared(node) for node in _outside_functions(self.tree) if isinstance(node, _FUNCTIONS)
            )
        )

    def _kept_values(self) -> list[ast.expr]:
        """Return the expressions whose value the module level keeps."""
        kept = (ast.Assign, ast.AnnAssign, ast.AugAssign, ast.NamedExpr)
        values = [node.value for node in _outside_functions(self.tree) if isinstance(node, kept)]
        return [value for value in values if value is not None]

    def _values(self, owner: ast.Module | ast.ClassDef) -> Iterator[tuple[str, ast.expr]]:
        """Yield the names that statements of a suite assign once and for all, and their values."""
        for node in owner.body:
            targets = node.targets if isinstance(node, ast.Assign) else []
            if isinstance(node, ast.AnnAssign):
                targets = [node.target]
            if isinstance(node, (ast.Assign, ast.AnnAssign)) and node.value is not None:
                yield from ((one.id, node.value) for one in targets if isinstance(one, ast.Name))

    def _may_change(self, value: ast.expr) -> bool:
        """Return `False` if an object surely never changes."""
        if isinstance(value, _NEVER_CHANGE):
            return False
        if isinstance(value, (ast.UnaryOp, ast.BinOp, ast.Tuple)):
            return any(self._may_change(part) for part in ast.iter_child_nodes(value) if isinstance(part, ast.expr))
        if isinstance(value, ast.Call):
            return not (isinstance(value.func, ast.Name) and value.func.id in _OF_VALUES)
        return not (isinstance(value, ast.Attribute) and _root(value) in self.imported)

    def _keeps_defaults(self, function: _Function) -> bool:
        """Return whether a default may be changed. A name is a variable of the module, or one that it holds."""
        defaults = [*function.args.defaults, *filter(None, function.args.kw_defaults)]
        return any(self._may_change(value) and not isinstance(value, ast.Name) for value in defaults)

    def _has_own_decorator(self, node: ast.AST) -> bool:
        if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            return False
        return any(_root(one) in self.functions.keys() | self.classes.keys() for one in node.decorator_list)

    def _makes_memory(self, node: ast.AST) -> bool:
        """Return whether an expression makes an instance, a closure or a generator of the program."""
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name):
            return False
        function = self.functions.get(node.func.id)
        if function is None:
            return node.func.id in self.classes
        inner = (part for statement in function.body for part in ast.walk(statement))
        return any(isinstance(part, (*_FUNCTIONS, ast.Yield, ast.YieldFrom)) for part in inner)

    def _changes_shared(self, function: _Function, outer: frozenset[str] = frozenset()) -> bool:
        """Return whether a function, or one in it, may change an object of the module or of a class."""
        local = outer | _bound_by(function)
        return any(
            self._changes_shared(path[-1], local) if isinstance(path[-1], _FUNCTIONS) else self._changes(path, local)
            for path in _paths(function)
        )

    def _changes(self, path: list[ast.AST], local: frozenset[str]) -> bool:
        """Return whether the last node of a path is an object that others hold, and its use may change it."""
        node = path[-1]
        if isinstance(node, ast.Name) and node.id not in local:
            known = node.id in self.functions or node.id in self.classes
            shared = node.id in self.variables
            if node.id in self.iterators:
                return True
        elif isinstance(node, ast.Name) and node.id == "cls":
            known, shared = True, False
        elif isinstance(node, ast.Attribute) and node.attr in self.attributes:
            known, shared = False, True
        else:
            return False
        return (known or shared) and _use_changes(path, is_variable=shared)


def _use_changes(path: list[ast.AST], is_variable: bool) -> bool:
    """
    Return whether the use of an object may change it. The path leads to the object from above.

    Functions and classes, which are no variables, change by assignments to their attributes alone.
    """
    position, is_part = len(path) - 1, False
    while isinstance(path[position - 1], (ast.Subscript, ast.Attribute)) and _is_value(path, position):
        position, is_part = position - 1, True
        above, reached = path[position - 1], path[position]
        if isinstance(reached, ast.Attribute) and isinstance(above, ast.Call) and above.func is reached:
            return is_variable and reached.attr not in _READING_METHODS
    reached, above = path[position], path[position - 1]
    context = reached.ctx if isinstance(reached, (ast.Name, ast.Attribute, ast.Subscript)) else ast.Load()
    if not isinstance(context, ast.Load):
        return True
    return is_variable and not is_part and not _only_reads(reached, above)


def _is_value(path: list[ast.AST], position: int) -> bool:
    above = path[position - 1]
    return isinstance(above, (ast.Subscript, ast.Attribute)) and above.value is path[position]


def _only_reads(node: ast.AST, above: ast.AST) -> bool:
    """Return whether the node directly above an object only reads it."""
    if isinstance(above, ast.Call):
        return node is not above.func and _last_name(above.func) in _READERS
    if isinstance(above, (ast.For, ast.comprehension)):
        return node is above.iter
    reading = (ast.Compare, ast.BinOp, ast.UnaryOp, ast.BoolOp, ast.If, ast.While, ast.IfExp, ast.FormattedValue)
    return isinstance(above, (*reading, ast.Starred, ast.Subscript))


def _last_name(node: ast.AST) -> str | None:
    """Return the last name of `a.b.c`."""
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else None


def _paths(function: _Function) -> Iterator[list[ast.AST]]:
    """Yield the path to each node of a function, beginning with it. Functions in it are not entered."""
    stack: list[list[ast.AST]] = [[function]]
    while stack:
        path = stack.pop()
        if len(path) > 1:
            yield path
            if isinstance(path[-1], _FUNCTIONS):
                continue
        stack += [[*path, child] for child in ast.iter_child_nodes(path[-1])]


def _outside_functions(tree: ast.AST) -> Iterator[ast.AST]:
    """Yield the nodes that run with the module. Functions are yielded, but not what is in them."""
    stack = [tree]
    while stack:
        node = stack.pop()
        yield node
        if not isinstance(node, _FUNCTIONS):
            stack += ast.iter_child_nodes(node)


def _bound_by(function: _Function) -> frozenset[str]:
    """Return the local names of a function."""
    arguments = function.args
    given = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, arguments.vararg, arguments.kwarg]
    bound = {one.arg for one in given if one is not None}
    for path in _paths(function):
        node = path[-1]
        if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
            bound.add(node.id)
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            bound.add(node.name)
        elif isinstance(node, ast.alias):
            bound.add((node.asname or node.name).partition(".")[0])
    return frozenset(bound)


def _root(node: ast.AST) -> str | None:
    """Return the first name of `a.b[0].c(1)`."""
    while isinstance(node, (ast.Attribute, ast.Subscript, ast.Call)):
        node = node.func if isinstance(node, ast.Call) else node.value
    return node.id if isinstance(node, ast.Name) else None


def _is_iterator(value: ast.expr) -> bool:
    name = _root(value) if isinstance(value, ast.Call) else None
    return isinstance(value, ast.GeneratorExp) or name in _ITERATORS
