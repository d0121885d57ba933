"""Turns the forms in which datasets write lists of tests into the package's own."""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
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


def read_module(code: str) -> dict[str, Any]:
    """
    Return the tests of code that runs after the program and raises an error if it is wrong.

    Its asserts and its calls of its own functions are a test each, if nothing but them and imports follows the first
    of them.
    """
    tree = parse(code)
    body = tree.body if tree is not None else []
    functions = {node.name for node in body if isinstance(node, ast.FunctionDef)}
    first = next((number for number, node in enumerate(body) if _is_test(node, functions)), None)
    tests = [node for node in body if _is_test(node, functions)]
    imports = [node for node in body[first:] if isinstance(node, (ast.Import, ast.ImportFrom))]
    if first is None or len(tests) + len(imports) < len(body[first:]):
        return {"type": "assert", "setup": "", "asserts": [code]}
    setup = ast.unparse(ast.Module([*body[:first], *imports], []))
    return {"type": "assert", "setup": setup, "asserts": list(map(ast.unparse, tests))}


def _is_test(node: ast.stmt, functions: set[str]) -> bool:
    call = node.value if isinstance(node, ast.Expr) else None
    is_call = isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id in functions
    return isinstance(node, ast.Assert) or is_call
