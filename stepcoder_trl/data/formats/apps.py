"""
Reads APPS, APPS+ and TACO.

They write some values of tests as text. Their conventions depend on the source of the problem.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from stepcoder_trl.data.formats.common import (
    Format,
    difficulty,
    first_that_parses,
    literal,
    paragraph,
    programs,
    task_id,
)
from stepcoder_trl.data.imports import USUAL_IMPORTS
from stepcoder_trl.data.problems import Problem
from stepcoder_trl.errors import BadInputError, NoTestsError
from stepcoder_trl.jsonl import Row, decode_utf8, parse_json, parse_json_at, shown


# Folders


def read_apps_folder(path: Path) -> Iterator[Row]:
    """Yield a row with the columns of codeparrot/apps for each folder of one split, sorted by name."""
    folders = sorted(folder for folder in path.iterdir() if (folder / "question.txt").is_file())
    if not folders:
        raise BadInputError(
            f"{path}: the folder holds no file of problems (.jsonl, .json, .parquet), and no folders such as "
            "`0000/question.txt` of APPS. Name a file of problems, or the folder of one split of APPS."
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


def apps_tests(row: Row, starter_code: str, field: str = "input_output", tests: Any = None) -> dict[str, Any]:
    """
    Return the tests of a row of APPS: `call` if they name a function, else `stdio`.

    They are the value of the field, unless they are given.
    """
    tests = row.json(field) if tests is None else tests
    if not tests or not isinstance(tests, Mapping) or not tests.get("inputs"):
        raise NoTestsError(f"{row.where}: `{field}` holds no tests. Drop the row.")
    inputs, outputs = tests["inputs"], tests.get("outputs")
    if not isinstance(inputs, list) or not isinstance(outputs, list):
        raise BadInputError(f"{row.where}: `{field}` must hold lists `inputs` and `outputs`. Correct it.")
    others = [name for name in tests if name not in ("inputs", "outputs") and isinstance(tests[name], (list, dict))]
    others = [name for name in others if tests[name]]
    if others:
        raise BadInputError(
            f"{row.where}: `{field}` holds `{others[0]}` beside `inputs` and `outputs`. No test may be left out: add "
            "them to these lists, or drop the field."
        )
    if not tests.get("fn_name"):
        return {"type": "stdio", "inputs": list(map(_joined, inputs)), "outputs": list(map(_joined, outputs))}
    inputs, outputs = _decoded_calls(inputs, outputs)
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


def _decoded_calls(inputs: list[Any], outputs: list[Any]) -> tuple[list[Any], list[Any]]:
    """
    Return the values of calls that are text: each argument as JSON on a line of its own, and each result as JSON.

    So verl's rewards read them. Calls that are not written so are returned unchanged.
    """
    if not all(isinstance(text, str) for text in (*inputs, *outputs)):
        return inputs, outputs
    try:
        return list(map(_json_lines, inputs)), list(map(parse_json, outputs))
    except ValueError:
        return inputs, outputs


def _json_lines(text: str) -> list[Any]:
    """Return the values of text that has JSON on each line. Raise a `ValueError` if a line has not."""
    return [parse_json(line) for line in text.split("\n") if line.strip()]


def _unquoted(inputs: list[Any], outputs: list[Any]) -> tuple[list[Any], list[Any]]:
    """
    Return the tests of a LeetCode problem without the extra quotes around strings (`'"abc"'`), also inside lists.

    All strings of the inputs lose them, or none: a single string without them is a row without the convention. The
    same holds for the outputs of a row whose inputs do not speak against it. Other problems of APPS that call a
    function have no extra quotes, but each of their outputs is in a list.
    """
    if not all(map(_is_quoted, _strings(inputs))):
        return inputs, outputs
    has_quoted_outputs = all(map(_is_quoted, _strings(outputs)))
    return _unquote(inputs), _unquote(outputs) if has_quoted_outputs else outputs


def _strings(value: Any) -> Iterator[str]:
    """Yield the strings in a value of JSON."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, (list, dict)):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _strings(part)


def _is_quoted(text: str) -> bool:
    try:
        return text.startswith('"') and isinstance(parse_json(text), str)
    except ValueError:
        return False


def _unquote(value: Any) -> Any:
    """Return a value whose strings have lost their extra quotes."""
    if isinstance(value, list):
        return [_unquote(part) for part in value]
    if isinstance(value, dict):
        return {key: _unquote(part) for key, part in value.items()}
    return parse_json(value) if isinstance(value, str) else value


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
        return literal(text)
    except ValueError:
        pass
    try:
        return parse_json(text)
    except ValueError:
        raise BadInputError(
            f"{row.where}: `{field}` is {shown(text)}, but must be source text of a Python literal or JSON. Give "
            'strings quotes of their own: `"\\"abc\\""`.'
        ) from None


# Readers


def _load_apps_plus(row: Row) -> Problem:
    starter_code = row.text("starter_code")
    return Problem(
        task_id=task_id(row, "id"),
        prompt=paragraph(_docstring_text(row.text("prompt").removeprefix(starter_code))),
        starter_code=without_main_block(starter_code),
        canonical_solution=row.text("canonical_solution"),
        tests={**apps_plus_tests(row, starter_code), "preamble": USUAL_IMPORTS},
        difficulty=difficulty(row, row.fields.get("difficulty")),
        where=row.where,
    )


def _docstring_text(docstring: str) -> str:
    """Return the text between the quotes, unchanged, because it has unescaped backslashes (`$n \\neq 0$`)."""
    text = docstring.strip()
    for quotes in ('"""', "'''"):
        if text.startswith(quotes):
            return text[3:].removesuffix(quotes)
    return text


def _load_apps(row: Row) -> Problem:
    name = "problem_id" if "problem_id" in row.fields else "id"
    return _apps_problem(row, f"{row.source}/{row.identifier(name)}", {})


def _load_taco(row: Row) -> Problem:
    limits: dict[str, Any] = {}
    if (seconds := _amount(row.fields.get("time_limit"), _SECONDS)) is not None:
        limits["timeout_s"] = seconds
    if (size := _amount(row.fields.get("memory_limit"), _BYTES)) is not None and size >= _BYTES["megabyte"]:
        limits["memory_limit_bytes"] = int(size)
    return _apps_problem(row, task_id(row, "id"), limits)


def _apps_problem(row: Row, name: str, limits: Mapping[str, Any]) -> Problem:
    starter_code = row.text("starter_code", "")
    word = row.fields.get("difficulty")
    return Problem(
        task_id=name,
        prompt=paragraph(row.text("question")),
        starter_code=starter_code,
        canonical_solution=first_that_parses(programs(row, "solutions")),
        tests={**apps_tests(row, starter_code), "preamble": USUAL_IMPORTS, **limits},
        difficulty=None if word == "UNKNOWN_DIFFICULTY" else difficulty(row, word),
        where=row.where,
    )


_SECONDS = {"second": 1.0, "millisecond": 1e-3, "sec": 1.0, "s": 1.0, "ms": 1e-3}
_BYTES = {
    "byte": 1.0,
    "kilobyte": 2.0**10,
    "megabyte": 2.0**20,
    "gigabyte": 2.0**30,
    "kb": 2.0**10,
    "mb": 2.0**20,
    "gb": 2.0**30,
    "kib": 2.0**10,
    "mib": 2.0**20,
    "gib": 2.0**30,
}


def _amount(text: Any, units: Mapping[str, float]) -> float | None:
    """Return the amount that a text such as `2.0 seconds` or `256 megabytes` names, or `None`."""
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]+?)s?\s*", text) if isinstance(text, str) else None
    unit = units.get(found[2].lower()) if found else None
    amount = float(found[1]) * unit if found and unit else 0.0
    return amount if amount > 0 else None


APPS_PLUS = Format(
    "apps_plus",
    "APPS+",
    ("prompt", "canonical_solution", "starter_code", "inputs", "outputs"),
    _load_apps_plus,
    licence="MIT",
    reads="the description in the docstring; `stdio` tests, or `call` tests where inputs are lists of arguments",
)
APPS = Format(
    "apps",
    "APPS",
    ("id|problem_id", "question", "input_output"),
    _load_apps,
    licence="MIT",
    reads="JSON Lines, parquet or the folders of a split; `stdio` tests, or `call` tests where `fn_name` is given; "
    "the first solution in Python 3, all solutions for `refine`",
    refuses="rows without tests",
    solutions=lambda row, problem: programs(row, "solutions"),
)
TACO = Format(
    "taco",
    "TACO",
    ("question", "input_output", "raw_tags|skill_types|tags"),
    _load_taco,
    licence="Apache-2.0",
    reads="TACO and TACO-verified, as `apps`; also `time_limit` and `memory_limit`",
    refuses="rows without tests, and calls whose arguments are not lists",
    solutions=lambda row, problem: programs(row, "solutions"),
)
