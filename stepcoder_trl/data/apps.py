"""
Reads the tests of APPS and APPS+, and the folders in which APPS is published.

Both datasets write some values of tests as text. Their conventions depend on the source of the problem.
"""

from __future__ import annotations

import ast
import codecs
import re
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from stepcoder_trl.errors import BadInputError, NoTestsError
from stepcoder_trl.jsonl import Row, decode_utf8, parse_json, parse_json_at, shown


# Folders


def read_apps_folder(path: Path) -> Iterator[Row]:
    """Yield a row with the columns of codeparrot/apps for each folder of one split, sorted by name."""
    folders = sorted(folder for folder in path.iterdir() if (folder / "question.txt").is_file())
    if not folders:
        raise BadInputError(
            f"{path}: the folder holds no folders with a `question.txt`. Pass the folder of one split of APPS, which "
            "has `0000/question.txt` and so on, or a single file."
        )
    for number, folder in enumerate(folders, start=1):
        yield Row(_columns(folder), str(folder), path.resolve().name, number)


def _columns(folder: Path) -> dict[str, Any]:
    metadata = parse_json_at(_text(folder / "metadata.json") or "{}", str(folder / "metadata.json"))
    return {
        "problem_id": int(folder.name) if folder.name.isdecimal() else folder.name,
        "question": _text(folder / "question.txt"),
        "solutions": _text(folder / "solutions.json"),
        "input_output": _text(folder / "input_output.json"),
        "difficulty": metadata.get("difficulty") if isinstance(metadata, dict) else None,
        "starter_code": _text(folder / "starter_code.py"),
    }


def _text(path: Path) -> str:
    """Return the text of a file. It is empty if there is no file."""
    return decode_utf8(path.read_bytes().removeprefix(codecs.BOM_UTF8), str(path)) if path.is_file() else ""


# Tests of APPS


def apps_tests(row: Row, starter_code: str) -> dict[str, Any]:
    """Return the tests of a row of APPS: `call` if `input_output` names a function, else `stdio`."""
    tests = row.json("input_output")
    if not tests or not isinstance(tests, Mapping) or not tests.get("inputs"):
        raise NoTestsError(f"{row.where}: `input_output` holds no tests. Drop the row.")
    inputs, outputs = tests["inputs"], tests.get("outputs")
    if not isinstance(inputs, list) or not isinstance(outputs, list):
        raise BadInputError(f"{row.where}: `input_output` must hold lists `inputs` and `outputs`. Correct it.")
    if not tests.get("fn_name"):
        return {"type": "stdio", "inputs": list(map(_joined, inputs)), "outputs": list(map(_joined, outputs))}
    if re.search(r"^class\s+Solution\b", starter_code, re.MULTILINE):
        inputs, outputs = _unquoted(inputs, outputs)
    elif all(isinstance(value, list) and len(value) == 1 for value in outputs):
        outputs = [value for (value,) in outputs]
    return {"type": "call", "fn_name": tests["fn_name"], "inputs": inputs, "outputs": outputs}


def _joined(text: Any) -> Any:
    """Return standard input or output as text. Some rows give it as a list of lines."""
    if isinstance(text, list) and all(isinstance(line, str) for line in text):
        return "\n".join(text)
    return text


def _unquoted(inputs: list[Any], outputs: list[Any]) -> tuple[list[Any], list[Any]]:
    """
    Return the tests of a LeetCode problem without extra quotes around strings (`'"abc"'`), if all have them.

    Other problems of APPS that call a function have no extra quotes, but each of their outputs is in a list.
    """
    if not all(isinstance(arguments, list) for arguments in inputs):
        return inputs, outputs
    strings = [value for arguments in inputs for value in arguments if isinstance(value, str)]
    if not strings or not all(map(_is_quoted, strings)):
        return inputs, outputs
    return [[_unquote(value) for value in arguments] for arguments in inputs], [_unquote(value) for value in outputs]


def _is_quoted(text: str) -> bool:
    try:
        return text.startswith('"') and isinstance(parse_json(text), str)
    except ValueError:
        return False


def _unquote(value: Any) -> Any:
    return parse_json(value) if isinstance(value, str) and _is_quoted(value) else value


# Tests of APPS+


def without_main_block(starter_code: str) -> str:
    """Return the starter code before a misplaced `if __name__ == "__main__":`, which no answer can continue."""
    block = re.search(r"^if\s+__name__\b", starter_code, re.MULTILINE)
    return starter_code[: block.start()] if block else starter_code


def apps_plus_tests(row: Row, starter_code: str) -> dict[str, Any]:
    """Return the tests of a row of APPS+: `stdio` if inputs are text, `call` if they are lists of arguments."""
    inputs, outputs = row.items("inputs"), row.items("outputs")
    tests = {"fn_name": _function_name(row, without_main_block(starter_code))}
    if all(isinstance(value, str) for value in inputs):
        return {"type": "stdio", **tests, "inputs": inputs, "outputs": outputs}
    arguments = [_decoded_arguments(row, f"inputs[{index}]", value) for index, value in enumerate(inputs)]
    values = [_decoded_arguments(row, f"outputs[{index}]", value) for index, value in enumerate(outputs)]
    for index, value in enumerate(values):
        if len(value) != 1:
            raise BadInputError(
                f"{row.where}: `outputs[{index}]` has {len(value)} entries, but must have one, the value returned. "
                "Wrap a list that is returned in a list: `[[1, 2]]`."
            )
    return {"type": "call", **tests, "inputs": arguments, "outputs": [value for (value,) in values]}


def _function_name(row: Row, starter_code: str) -> str:
    """Return the name of the function that the tests call: the first method of `class Solution`, or first function."""
    solution = re.search(r"^class\s+Solution\b", starter_code, re.MULTILINE)
    names = re.findall(
        r"^[ \t]*(?:async\s+)?def\s+(\w+)", starter_code[solution.end() if solution else 0 :], re.MULTILINE
    )
    names = [name for name in names if name != "__init__"]
    if not names:
        raise BadInputError(
            f"{row.where}: `starter_code` is {shown(starter_code)}, but must name the function that the tests call. "
            "Begin it with `def NAME(...):` or with `class Solution:` and a method."
        )
    found: str = names[0]
    return found


def _decoded_arguments(row: Row, field: str, values: Any) -> list[Any]:
    """Return the values of arguments. Text is a Python literal, where a string has its own quotes, or JSON."""
    if not isinstance(values, list):
        raise BadInputError(
            f"{row.where}: `{field}` is {shown(values)}, but must be a list, since `inputs` are lists of arguments. "
            "Tests of one row are all text (standard input) or all lists (calls)."
        )
    return [
        _evaluated(row, f"{field}[{index}]", value) if isinstance(value, str) else value
        for index, value in enumerate(values)
    ]


def _evaluated(row: Row, field: str, text: str) -> Any:
    """Return the value of a Python literal or of JSON text."""
    try:
        return _literal(text)
    except ValueError:
        pass
    try:
        return parse_json(text)
    except ValueError:
        raise BadInputError(
            f"{row.where}: `{field}` is {shown(text)}, but must be source text of a Python literal or JSON. Give "
            'strings quotes of their own: `"\\"abc\\""`.'
        ) from None


def _literal(text: str) -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # warnings of invalid escapes
            return ast.literal_eval(text.strip())
    except (SyntaxError, TypeError, ValueError, RecursionError, MemoryError) as error:
        raise ValueError(str(error)) from error
