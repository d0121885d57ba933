"""Reads rStar-Coder, whose calls are written as text in the ways of the datasets that it was made from."""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping
from typing import Any

from stepcoder_trl.data.formats.cases import read_tests
from stepcoder_trl.data.formats.common import Format, LeftOut, code_of_answer, literal, paragraph, plain_object
from stepcoder_trl.data.imports import USUAL_IMPORTS
from stepcoder_trl.data.problems import Problem
from stepcoder_trl.jsonl import Row, parse_json
from stepcoder_trl.parsing import parse


def _load(row: Row) -> Problem:
    starter_code, name = row.text("starter_code", ""), row.text("func_name", "")
    value = {"inputs": plain_object(row, "inputs"), "outputs": plain_object(row, "outputs")}
    are_text = isinstance(value["inputs"], list) and all(isinstance(text, str) for text in value["inputs"])
    if name and are_text:
        tests = _calls(row, name, _header(starter_code, name), value)
    else:
        tests = read_tests(row, "inputs", value, name or None, starter_code)
    given = row.text("code", "") or row.text("response", "")
    return Problem(
        task_id=str(row.identifier("question_id")),
        prompt=paragraph(row.text("question")),
        starter_code=starter_code,
        canonical_solution=code_of_answer(given) if given else "",
        tests={**tests, "preamble": USUAL_IMPORTS},
        where=row.where,
    )


def _calls(row: Row, name: str, header: ast.FunctionDef | None, value: Mapping[str, Any]) -> dict[str, Any]:
    """Return the tests of inputs that are text: asserts, or the arguments of a call."""
    texts = value["inputs"]
    if texts and all(text.lstrip().startswith("assert") for text in texts):
        return read_tests(row, "inputs", texts)
    parameters = _parameters(header)
    found = [_arguments(text, parameters) for text in texts]
    arguments = [one for one in found if one is not None]
    if len(arguments) < len(found):
        raise LeftOut(
            row.where,
            "has calls in a form that is not known",
            "Known are asserts, and arguments by name or in a list.",
        )
    outputs = value["outputs"]
    if isinstance(outputs, list):
        read = _text if header is not None and _is_str(header.returns) else _value
        outputs = [read(output) for output in outputs]
    return {"type": "call", "fn_name": name, "inputs": arguments, "outputs": outputs}


def _header(starter_code: str, name: str) -> ast.FunctionDef | None:
    """Return a function or method, whose body may be missing."""
    header = re.search(rf"^([ \t]*)def\s+{re.escape(name)}\s*\(.*?\)[^\n]*?:", starter_code, re.MULTILINE | re.DOTALL)
    match (parse(f"{header[0].strip()} pass") or ast.Module([], [])).body if header else []:
        case [ast.FunctionDef() as function]:
            return function
    return None


def _parameters(header: ast.FunctionDef | None) -> dict[str, bool]:
    """Return the names of the parameters, and whether they are annotated as `str`."""
    if header is None:
        return {}
    arguments = [*header.args.posonlyargs, *header.args.args]
    return {
        argument.arg: _is_str(argument.annotation)
        for number, argument in enumerate(arguments)
        if (number, argument.arg) != (0, "self")
    }


def _is_str(annotation: ast.expr | None) -> bool:
    return annotation is not None and ast.unparse(annotation) == "str"


def _arguments(text: str, parameters: Mapping[str, bool]) -> list[Any] | None:
    """
    Return the arguments that a text has: an object or assignments by name, a list, or one value. `None` if it is not
    clear. A list for a function with one parameter is not: it may be the argument, or all arguments. A lone argument
    for `str` is the text itself. Elsewhere a value for `str` that is none is not clear.
    """
    try:
        named = _assigned(text)
    except ValueError:
        return None
    value = _value(text) if named is None else named
    is_lone = len(parameters) == 1 and named is None
    if isinstance(value, Mapping) and value.keys() == parameters.keys():
        found = [value[parameter] for parameter in parameters]
    elif isinstance(value, list) and len(value) == len(parameters) > 1:
        found = value
    elif is_lone and not isinstance(value, list) and (all(parameters.values()) or _is_known(text)):
        found = [_text(text) if all(parameters.values()) else value]
    else:
        return None
    fits = all(isinstance(one, str) for one, is_str in zip(found, parameters.values(), strict=True) if is_str)
    return found if fits else None


def _assigned(text: str) -> dict[str, Any] | None:
    """
    Return the values of assignments, `x = 1, y = 2` or one on each line. `None` if the text is something else.

    Raises:
        ValueError: If a value is neither JSON nor a Python literal.
    """
    call = parse(f"f({text})")
    match call.body if call is not None else []:
        case [ast.Expr(value=ast.Call(args=[], keywords=words))] if words and all(word.arg for word in words):
            pairs = [(str(word.arg), word.value) for word in words]
        case _:
            body = (parse(text) or ast.Module([], [])).body
            pairs = [
                (node.targets[0].id, node.value)
                for node in body
                if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
            ]
            if not pairs or len(pairs) < len(body):
                return None
    return {name: _known(ast.unparse(node)) for name, node in pairs}


def _known(text: str) -> Any:
    """Return the value of JSON text or of a Python literal. Raise a `ValueError` for anything else."""
    try:
        return parse_json(text)
    except ValueError:
        return literal(text)


def _is_known(text: str) -> bool:
    try:
        _known(text)
    except ValueError:
        return False
    return True


def _value(text: Any) -> Any:
    """Return the value of JSON text or of a Python literal. Any other text is a string."""
    return _known(text) if isinstance(text, str) and _is_known(text) else text


def _text(text: Any) -> Any:
    """Return a string that is written as it is, or with quotes."""
    value = _value(text)
    return value if isinstance(value, str) else text


RSTAR = Format(
    "rstar_coder",
    "rStar-Coder",
    ("question_id", "question", "inputs", "outputs"),
    _load,
    licence="CC BY 4.0",
    reads="`seed_testcase` and `synthetic_rl_testcase`; `func_name` makes `call` tests, or asserts where inputs are "
    "asserts. Join `code` or `response` of the other configurations by `question_id` for solutions",
    refuses="calls whose arguments are not clear from the text are left out and counted",
    knows=("test_case_type",),
)
