"""Turns the forms in which datasets write lists of tests into the package's own."""

from __future__ import annotations

import ast
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from stepcoder_trl.data.formats.apps import apps_tests
from stepcoder_trl.data.formats.common import LeftOut
from stepcoder_trl.errors import BadInputError, NoTestsError
from stepcoder_trl.executor.verdict.modules import asserts_of_module
from stepcoder_trl.executor.verdict.untranslatable import UntranslatableError
from stepcoder_trl.jsonl import Row, parse_json, shown
from stepcoder_trl.parsing import parse


_STANDARD_INPUT = ("stdin", "stdin_stdout", "stdio")
_CALLS = ("function_call",)  # arguments and results are values
_CALLS_IN_TEXT = ("functional",)  # arguments are JSON, one on a line


def read_tests(row: Row, field: str, value: Any, name: str | None = None, starter_code: str = "") -> dict[str, Any]:
    """
    Return the tests that a field holds, in whichever form.

    - an object with lists `inputs` and `outputs`, and `fn_name` for calls, as in APPS
    - a list of objects with `input`, `output` and the kind as `type` or `testtype`
    - a list of asserts

    Args:
        row (`Row`): Row, for messages.
        field (`str`): Name of the field, for messages.
        value (`Any`): Value of the field.
        name (`str`, *optional*): Function that the tests call, where they do not name it.
        starter_code (`str`, *optional*): Code that tells LeetCode's conventions from others.

    Raises:
        BadInputError: If it has no such form, or mixes kinds of tests.
    """
    if isinstance(value, Mapping):
        given = {**value, "fn_name": value.get("fn_name") or name}
        return apps_tests(row, starter_code, field, given)
    if not isinstance(value, list) or not value:
        raise NoTestsError(f"{row.where}: `{field}` holds no tests. Drop the row.")
    if all(isinstance(case, str) for case in value):
        for statement in value:
            if not _may_fail(statement):
                raise BadInputError(
                    f"{row.where}: `{field}` has the entry {shown(statement)}, which can never fail, but each must be "
                    "an assert. Correct it or drop the row."
                )
        return {"type": "assert", "setup": "", "asserts": value}
    for case in value:
        if not isinstance(case, Mapping) or "input" not in case or "output" not in case:
            raise BadInputError(
                f"{row.where}: `{field}` has the entry {shown(case)}, but each must be an object with `input` and "
                "`output`, or each an assert. Correct it or drop the row."
            )
    return _tests_of_cases(row, field, value, name, starter_code)


def _may_fail(statement: str) -> bool:
    """Return whether a test does anything. Text that does not parse is refused elsewhere."""
    tree = parse(statement)
    return tree is None or any(isinstance(node, (ast.Assert, ast.Call, ast.Raise)) for node in ast.walk(tree))


def _tests_of_cases(
    row: Row, field: str, cases: Sequence[Mapping[str, Any]], name: str | None, starter_code: str
) -> dict[str, Any]:
    kinds = {_kind(case, name) for case in cases}
    names = {found for case in cases if (found := _name(case))} or ({name} if name else set())
    if len(kinds) != 1 or len(names) > 1:
        mixed = ", ".join(sorted(map(str, names if len(kinds) == 1 else kinds)))
        raise BadInputError(
            f"{row.where}: `{field}` mixes {mixed}, but tests of a row must be of one kind. Split the row."
        )
    (kind,) = kinds
    inputs, outputs = [case["input"] for case in cases], [case["output"] for case in cases]
    if kind in _STANDARD_INPUT:
        return apps_tests(row, "", field, {"inputs": inputs, "outputs": outputs})
    if not names:
        raise BadInputError(f"{row.where}: `{field}` calls a function that the row does not name. Add `fn_name`.")
    (called,) = names
    if kind in _CALLS:
        return apps_tests(row, starter_code, field, {"inputs": inputs, "outputs": outputs, "fn_name": called})
    if kind in _CALLS_IN_TEXT:
        return {
            "type": "call",
            "fn_name": called,
            "inputs": [_values(row, field, text) for text in inputs],
            "outputs": [_value(row, field, text) for text in outputs],
        }
    raise BadInputError(
        f"{row.where}: `{field}` has tests of the kind {shown(kind)}, which is not known. Drop the row."
    )


def _kind(case: Mapping[str, Any], name: str | None) -> str:
    kind = case.get("type") or case.get("testtype")
    if kind is None:
        return "function_call" if _name(case) or name else "stdin"
    return str(kind)


def _name(case: Mapping[str, Any]) -> str | None:
    metadata = case.get("metadata")
    found = case.get("fn_name") or (metadata.get("func_name") if isinstance(metadata, Mapping) else None)
    return str(found) if found else None


def _values(row: Row, field: str, text: Any) -> list[Any]:
    """Return the arguments of a call: one JSON value on each line."""
    if not isinstance(text, str):
        raise BadInputError(
            f"{row.where}: `{field}` has the input {shown(text)}, but must have JSON text. Correct it."
        )
    return [_value(row, field, line) for line in text.split("\n") if line.strip()]


def _value(row: Row, field: str, text: Any) -> Any:
    try:
        return parse_json(text) if isinstance(text, str) else text
    except ValueError as error:
        raise BadInputError(
            f"{row.where}: `{field}` has {shown(text)}, which is not valid JSON: {error}. Correct it or drop the row."
        ) from error


def read_unittest(row: Row, code: str) -> dict[str, Any]:
    """Return the tests of a module of pytest or unittest. A module that cannot be run is left out."""
    try:
        asserts_of_module(code)
    except UntranslatableError as error:
        raise LeftOut(row.where, "has tests that cannot be run", f"In detail: {error}.") from error
    except SyntaxError:
        pass  # the error says where
    return {"type": "unittest", "code": code}


def read_module(row: Row, code: str, field: str = "functional") -> dict[str, Any]:
    """
    Return the tests of code that runs after the program and raises an error if it is wrong. See [`split_module`].

    If nothing runs, the module must have test functions of pytest or classes of unittest.

    Raises:
        BadInputError: If it tests nothing.
    """
    setup, tests = split_module(code)
    if tests or parse(code) is None:  # the error says where it does not parse
        return {"type": "assert", "setup": setup, "asserts": tests or [code]}
    try:
        has_functions = len(asserts_of_module(code).asserts) > 0
    except UntranslatableError:
        has_functions = True  # they are refused with their own reason
    if has_functions:
        return read_unittest(row, code)
    raise BadInputError(
        f"{row.where}: `{field}` is {shown(code)}, which tests nothing when it runs. Call its functions at its "
        "end, or drop the row."
    )


def split_module(code: str, entry_point: str = "") -> tuple[str, list[str]]:
    """
    Return what a module defines, and what it tests when it runs: an error there is a wrong answer.

    A statement tests if it asserts, or if it calls a function of the module or the one under test and is no
    assignment. If only such asserts and calls, and imports, follow the first one, each is a test. Otherwise all that
    follows is one test, in its order. A module that tests nothing is returned unchanged.

    Args:
        code (`str`): Module, with or without `if __name__ == "__main__":`.
        entry_point (`str`, *optional*): Function under test, such as `"inc"` or `"Solution().inc"`.
    """
    tree = parse(code)
    body = [part for node in (tree.body if tree is not None else []) for part in without_main(node)]
    functions = {node.name for node in body if isinstance(node, _FUNCTIONS)} | {entry_point.partition("(")[0]}
    first = next((number for number, node in enumerate(body) if _tests_something(node, functions)), None)
    if first is None:
        return code, []
    rest = [node for node in body[first:] if not isinstance(node, _IMPORTS)]
    setup = body[:first] + [node for node in body[first:] if isinstance(node, _IMPORTS)]
    are_plain = all(_is_test(node, functions) for node in rest)
    tests = list(map(ast.unparse, rest)) if are_plain else [ast.unparse(ast.Module(rest, []))]
    return ast.unparse(ast.Module(setup, [])), tests


_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
_IMPORTS = (ast.Import, ast.ImportFrom)
_DEFINITIONS = (*_FUNCTIONS, ast.ClassDef)
_ASSIGNMENTS = (ast.Assign, ast.AnnAssign, ast.AugAssign)


def without_main(node: ast.stmt) -> list[ast.stmt]:
    """Return the statements of `if __name__ == "__main__":`. Any other statement is returned alone."""
    is_main = isinstance(node, ast.If) and ast.unparse(node.test) in _IS_MAIN and not node.orelse
    return node.body if is_main else [node]  # type: ignore[attr-defined]


_IS_MAIN = ("__name__ == '__main__'", "'__main__' == __name__")


def _tests_something(node: ast.stmt, functions: Collection[str]) -> bool:
    called = ("check",) if isinstance(node, _ASSIGNMENTS) else functions  # `passed = check(inc)` tests
    return any(isinstance(part, ast.Assert) or _calls(part, called) for part in parts_that_run(node))


def parts_that_run(node: ast.AST) -> Iterator[ast.AST]:
    """Yield the parts of a statement, without what functions and classes hold that it defines."""
    if not isinstance(node, (*_DEFINITIONS, ast.Lambda)):
        yield node
        for part in ast.iter_child_nodes(node):
            yield from parts_that_run(part)


def _is_test(node: ast.stmt, functions: Collection[str]) -> bool:
    return isinstance(node, ast.Assert) or (isinstance(node, ast.Expr) and _calls(node.value, functions))


def _calls(node: ast.AST, functions: Collection[str]) -> bool:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in functions
