"""
Lets a test module find the program: drops its imports of `solution`, and rewrites the names that they bind.

Tests run in the namespace of the program. So `solution.f` and an alias of `f` become `f`, where no name of the tests
hides it. The module itself is `__main__`.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

from stepcoder_trl.executor.verdict.asserts import last_name
from stepcoder_trl.executor.verdict.setups import names_bound_by, names_used_by
from stepcoder_trl.executor.verdict.untranslatable import UntranslatableError
from stepcoder_trl.parsing import syntax_tree


_PROGRAM = "solution"  # name of the program, as a module
_MODULE = "_tested_program"  # name of that module in translated tests
_IMPORTERS = ("patch", "import_module", "__import__")  # functions that take the name of a module
_FUNCTION_OR_MODULE = f"""
try:
    {_PROGRAM}
except NameError:
    import __main__ as {_PROGRAM}
"""


def with_names_of_program(tree: ast.Module) -> ast.Module:
    """
    Return a test module whose references to the program need no import of it.

    Raises:
        UntranslatableError: If it hides a name of the program that it uses, or reaches the program by other means.
    """
    imports = _Imports()
    tree = ast.fix_missing_locations(imports.visit(tree))
    source = ast.unparse(tree)
    bound = names_bound_in(tree.body)
    _refuse_hidden_names(tree, imports, bound, names_bound_by(source))
    modules, setup = set(imports.modules), []
    if _PROGRAM in imports.modules | imports.names.keys():
        pass
    elif _PROGRAM not in bound:
        modules.add(_PROGRAM)
        setup = syntax_tree(_FUNCTION_OR_MODULE).body if _is_passed_on(tree) else []
    elif _PROGRAM not in names_bound_by(source) and _PROGRAM in names_used_by(source):
        raise UntranslatableError(f"it uses `{_PROGRAM}` both as the program and as a variable")
    rename = _Rename(imports, modules, bound)
    changed: ast.Module = rename.visit(tree)
    if rename.uses_module:
        setup += syntax_tree(f"import __main__ as {_MODULE}").body
    changed.body[:0] = setup
    return ast.fix_missing_locations(changed)


class _Imports(ast.NodeTransformer):
    """Drop imports of the program and of pytest, and note the names that they bind."""

    def __init__(self) -> None:
        self.modules: set[str] = set()  # names of the program as a module
        self.names: dict[str, str] = {}  # names of parts of the program, and what the program calls them

    def visit_Import(self, node: ast.Import) -> ast.stmt:
        for alias in node.names:
            if alias.name == _PROGRAM:
                self.modules.add(alias.asname or alias.name)
            if alias.name.startswith(f"{_PROGRAM}."):
                raise UntranslatableError(f"it imports `{alias.name}`")
            if alias.name == "pytest" and alias.asname not in (None, "pytest"):
                raise UntranslatableError("it imports pytest under another name")
        kept = [alias for alias in node.names if alias.name not in (_PROGRAM, "pytest")]
        return ast.Import(kept) if kept else ast.Pass()

    def visit_ImportFrom(self, node: ast.ImportFrom) -> ast.stmt:
        if node.module == "pytest":
            raise UntranslatableError("it imports names of pytest")
        if (node.module or "").startswith(f"{_PROGRAM}."):
            raise UntranslatableError(f"it imports `{node.module}`")
        if node.module != _PROGRAM:
            return node
        for alias in node.names:
            if self.names.setdefault(alias.asname or alias.name, alias.name) != alias.name:
                raise UntranslatableError(f"it imports two names of the program as `{alias.asname or alias.name}`")
        return ast.Pass()

    def visit_Try(self, node: ast.Try) -> ast.AST | list[ast.stmt]:
        """Drop what runs if the program cannot be imported."""
        self.generic_visit(node)
        if all(isinstance(part, ast.Pass) for part in node.body):
            return [ast.Pass(), *node.orelse, *node.finalbody]
        return node


def _refuse_hidden_names(tree: ast.Module, imports: _Imports, bound: set[str], global_names: frozenset[str]) -> None:
    """Refuse a module that binds names of the program in another way, too, or names the program in a text."""
    renamed = imports.modules | {alias for alias, name in imports.names.items() if alias != name}
    used = set(imports.names.values())
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and _is_one_of(node.value, imports.modules):
            used.add(node.attr)
        if _names_program_in_text(node):
            raise UntranslatableError(f"it names the module `{_PROGRAM}` in a text")
    twice = (renamed & bound) | (used & global_names) | (imports.modules & imports.names.keys())
    if twice:
        raise UntranslatableError(f"it binds `{min(twice)}` by an import of the program and in another way")


def _names_program_in_text(node: ast.AST) -> bool:
    """Return whether code looks the program up by its name: `patch("solution.f")`, `sys.modules["solution"]`."""
    match node:
        case ast.Call(func=function, args=[ast.Constant(value=str(text)), *_]) if last_name(function) in _IMPORTERS:
            return text.partition(".")[0] == _PROGRAM
        case ast.Subscript(value=ast.Attribute(attr="modules"), slice=ast.Constant(value="solution")):
            return True
    return False


def _is_passed_on(tree: ast.Module) -> bool:
    """Return whether a module uses `solution`, which it does not import, other than in `solution.f` or a call."""
    plain = {
        id(node.func if isinstance(node, ast.Call) else node.value)
        for node in ast.walk(tree)
        if isinstance(node, (ast.Call, ast.Attribute))
    }
    return any(_is_one_of(node, {_PROGRAM}) and id(node) not in plain for node in ast.walk(tree))


class _Rename(ast.NodeTransformer):
    """Replace aliases of the program and of its parts."""

    def __init__(self, imports: _Imports, modules: set[str], bound: set[str]) -> None:
        self.imports, self.modules, self.bound = imports, modules, bound
        self.uses_module = False

    def visit_Name(self, node: ast.Name) -> ast.expr:
        if node.id in self.imports.modules:
            return self.module()
        name = self.imports.names.get(node.id, node.id)
        return node if name == node.id else self.part(name, node.ctx)

    def visit_Attribute(self, node: ast.Attribute) -> ast.expr:
        if _is_one_of(node.value, self.modules):
            return self.part(node.attr, node.ctx)
        self.generic_visit(node)
        return node

    def part(self, name: str, context: ast.expr_context) -> ast.expr:
        """Return an expression for a name of the program. The tests may have a variable of that name."""
        if isinstance(context, ast.Load) and name not in self.bound:
            return ast.Name(name, context)
        return ast.Attribute(self.module(), name, context)

    def module(self) -> ast.Name:
        self.uses_module = True
        return ast.Name(_MODULE, ast.Load())


def _bound_by(node: ast.AST) -> Iterator[str]:
    match node:
        case ast.Name(id=name, ctx=ast.Store() | ast.Del()) | ast.arg(arg=name):
            yield name
        case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
            yield name
        case ast.ExceptHandler(name=str(name)) | ast.MatchAs(name=str(name)) | ast.MatchStar(name=str(name)):
            yield name
        case ast.MatchMapping(rest=str(name)):
            yield name
        case ast.alias(name=name, asname=alias):
            yield alias or name.partition(".")[0]
        case ast.Global(names=names) | ast.Nonlocal(names=names):
            yield from names


def names_bound_in(nodes: list[ast.stmt]) -> set[str]:
    """Return all names that statements bind, in whichever scope."""
    return {name for node in nodes for part in ast.walk(node) for name in _bound_by(part)}


def _is_one_of(node: ast.AST, names: set[str]) -> bool:
    return isinstance(node, ast.Name) and node.id in names
