"""
Recognise checkers that may run what a program printed as code, beside the expected output.

In `return eval(output) == eval(expected)`, the output decides what is equal to it. So tests of such a checker are not
trusted.
"""

from __future__ import annotations

import ast
from functools import lru_cache

from stepcoder_trl.parsing import parse


_RUN_TEXTS = frozenset(("eval", "exec", "compile", "globals", "__import__", "__builtins__"))
_RUN_TEXTS_AS_METHODS = frozenset(("eval", "exec", "modules", "system", "popen", "sympify", "parse_expr", "__self__"))
# Modules that run code, that read a text as code, or that load objects by the names of their classes.
_MODULES = frozenset(
    (
        *("builtins", "cffi", "cloudpickle", "code", "codeop", "copyreg", "ctypes", "dill", "importlib", "joblib"),
        *("jsonpickle", "marshal", "pickle", "pkgutil", "pty", "runpy", "shelve", "subprocess", "timeit", "yaml"),
        *("asteval", "numexpr", "pandas", "sympy"),
    )
)


@lru_cache(maxsize=1024)
def runs_texts(checker: str) -> bool:
    """
    Return whether a checker names what runs a text as code.

    A text that stands in the checker itself may be run. It is read like the rest.
    """
    tree = parse(checker)
    if tree is None:
        return True
    texts = _texts_of(tree)
    harmless = {id(part) for node in ast.walk(tree) for part in _parts_that_run(node, texts)}
    return any(_runs_texts(node) and id(node) not in harmless for node in ast.walk(tree)) or any(
        map(runs_texts, texts.values())
    )


def _texts_of(tree: ast.Module) -> dict[str, str]:
    """Return the texts that a checker runs and that it holds itself, by the names that it binds to nothing else."""
    bound = [node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load)]
    bound += [node.arg for node in ast.walk(tree) if isinstance(node, ast.arg)]
    found: dict[str, str] = {}
    for node in tree.body:
        match node:
            case ast.Assign(targets=[ast.Name(id=name)], value=ast.Constant(value=str() as text)):
                found[name] = text
    run = {part.id for node in ast.walk(tree) for part in _run_by(node)}
    return {name: text for name, text in found.items() if bound.count(name) == 1 and name in run}


def _run_by(node: ast.AST) -> list[ast.Name]:
    """Return the name of the text that a call runs or compiles, as `exec(compile(TEXT, "file", "exec"))` does."""
    match node:
        case ast.Call(func=ast.Name(id="exec" | "eval" | "compile"), args=[ast.Name() as text, *_]):
            return [text]
        case ast.Call(func=ast.Name(id="exec" | "eval"), args=[ast.Call() as compiled, *_]):
            return _run_by(compiled)
    return []


def _parts_that_run(node: ast.AST, texts: dict[str, str]) -> list[ast.expr]:
    """Return the name of the function, if a node is a call that runs one of the texts."""
    is_of_text = any(text.id in texts for text in _run_by(node))
    return [node.func] if is_of_text and isinstance(node, ast.Call) else []


def _runs_texts(node: ast.AST) -> bool:
    match node:
        case ast.Name(id=name):
            return name in _RUN_TEXTS
        case ast.Attribute(attr=name):
            return name in _RUN_TEXTS_AS_METHODS
        case ast.Import(names=names):
            return any(alias.name.partition(".")[0] in _MODULES for alias in names)
        case ast.ImportFrom(module=module, names=names):
            is_named = any(alias.name in _RUN_TEXTS_AS_METHODS for alias in names)
            return is_named or (module or "").partition(".")[0] in _MODULES
    return False
