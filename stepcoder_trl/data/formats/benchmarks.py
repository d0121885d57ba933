"""Reads LiveCodeBench, BigCodeBench, ClassEval, KodCode and open-r1's Codeforces problems."""

from __future__ import annotations

import ast
import base64
import io
import math
import pickle
import sys
import zlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NoReturn

from stepcoder_trl.data.formats.cases import read_tests, read_unittest
from stepcoder_trl.data.formats.common import Format, LeftOut, difficulty, paragraph, plain_object, records
from stepcoder_trl.data.imports import USUAL_IMPORTS, explicit_imports
from stepcoder_trl.data.problems import Problem
from stepcoder_trl.errors import BadInputError
from stepcoder_trl.jsonl import Row, parse_json, shown
from stepcoder_trl.parsing import parse


# LiveCodeBench

_MAX_TESTS_BYTES = 2**30  # of the private tests of one problem, unpacked


class _TextUnpickler(pickle.Unpickler):
    """Reads a pickle of plain values. A pickle that names a class or function, and so could run code, is refused."""

    def find_class(self, module_name: str, global_name: str) -> NoReturn:
        raise pickle.UnpicklingError(f"it names {module_name}.{global_name}, but must be text")

    def persistent_load(self, pid: Any) -> NoReturn:
        raise pickle.UnpicklingError("it names an object outside of it, but must be text")


# Bad base64 is a ValueError. A malformed pickle raises whatever its operations meet.
_NOT_DECODED = (ValueError, zlib.error, pickle.UnpicklingError, EOFError, LookupError, TypeError, AttributeError)


def private_tests(text: str, where: str) -> Any:
    """
    Return the private tests of a problem of LiveCodeBench.

    They are JSON, or JSON that was pickled, compressed and encoded. No code of the pickle is run.
    """
    try:
        return parse_json(text)
    except ValueError:
        pass
    try:
        unpacker = zlib.decompressobj()
        data = unpacker.decompress(base64.b64decode(text, validate=True), _MAX_TESTS_BYTES)
        found = _TextUnpickler(io.BytesIO(data)).load()
        if not isinstance(found, str) or unpacker.unconsumed_tail:
            raise pickle.UnpicklingError(f"it holds {shown(found)}, but must be text of at most 1 GiB")
        return parse_json(found)
    except _NOT_DECODED as error:
        raise BadInputError(
            f"{where}: `private_test_cases` cannot be decoded: {error}. Load the dataset again or drop the row."
        ) from error


def _load_livecodebench(row: Row) -> Problem:
    metadata = row.json("metadata")
    name = metadata.get("func_name") if isinstance(metadata, Mapping) else None
    cases: list[Any] = []
    for field, value in (
        ("public_test_cases", row.json("public_test_cases")),
        ("private_test_cases", private_tests(row.text("private_test_cases", "") or "[]", row.where)),
    ):
        if not isinstance(value, list):
            raise BadInputError(f"{row.where}: `{field}` is {shown(value)}, but must be a list of tests. Correct it.")
        cases += value
    starter_code = row.text("starter_code", "")
    tests = read_tests(row, "public_test_cases", cases, name, starter_code)
    return Problem(
        task_id=str(row.identifier("question_id")),
        prompt=paragraph(row.text("question_content")),
        starter_code=starter_code,
        tests={**tests, "preamble": USUAL_IMPORTS},
        difficulty=difficulty(row, row.fields.get("difficulty")),
        where=row.where,
    )


# KodCode, BigCodeBench and ClassEval


def _load_kodcode(row: Row) -> Problem:
    return Problem(
        task_id=str(row.identifier("question_id")),
        prompt=paragraph(row.text("question")),
        canonical_solution=row.text("solution"),
        tests=read_unittest(row, row.text("test")),
        difficulty=difficulty(row, row.fields.get("gpt_difficulty")),
        where=row.where,
    )


def _load_bigcodebench(row: Row) -> Problem:
    libraries = plain_object(row, "libs") or []
    if not isinstance(libraries, list) or not all(isinstance(name, str) for name in libraries):
        raise BadInputError(f"{row.where}: `libs` is {shown(libraries)}, but must be a list of names. Correct it.")
    _refuse_other_libraries(row, libraries)
    stub = row.text("complete_prompt")
    return Problem(
        task_id=row.text("task_id"),
        prompt=f"Complete the Python function `{row.text('entry_point')}`, which begins as follows.\n",
        starter_code=stub,
        canonical_solution=stub + row.text("canonical_solution"),
        tests=read_unittest(row, row.text("test")),
        where=row.where,
    )


def _load_classeval(row: Row) -> Problem:
    imports, solution, test = "\n".join(row.texts("import_statement")), row.text("solution_code"), row.text("test")
    _refuse_other_libraries(row, [name for code in (imports, solution, test) for name in _imported(code)])
    # Its harness runs the imports, the class and the tests as one module.
    preamble = explicit_imports(imports) if imports.strip() else ""
    return Problem(
        task_id=row.text("task_id"),
        prompt=f"Complete the class `{row.text('class_name')}`.\n\n```python\n{row.text('skeleton').strip()}\n```\n",
        canonical_solution=solution,
        tests={**read_unittest(row, test), "preamble": preamble},
        where=row.where,
    )


def _refuse_other_libraries(row: Row, names: Sequence[str]) -> None:
    others = sorted({name for name in names if name.partition(".")[0] not in sys.stdlib_module_names})
    if others:
        raise LeftOut(row.where, f"needs {', '.join(others)}", "Only the standard library is there.")


def _imported(code: str) -> Iterator[str]:
    """Yield the names of the modules that code imports."""
    tree = parse(code)
    for node in ast.walk(tree) if tree is not None else ():
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


# open-r1/codeforces


def _load_codeforces(row: Row) -> Problem:
    if row.fields.get("interaction_format"):
        raise LeftOut(row.where, "is interactive", "Only standard output can be judged.")
    if row.text("input_mode", "stdio") != "stdio":
        raise LeftOut(row.where, "reads a file", "Only standard input can be tested.")
    if row.text("language", "python").lower() not in ("python", "python3"):  # prompts of a problem differ by it
        raise LeftOut(row.where, "is for another language", "Only Python can be run.")
    cases: dict[str, Any] = {}
    for field in ("examples", "official_tests", "generated_tests"):
        if isinstance(row.fields.get(field), int):
            continue  # the number of the tests that the dataset has in files of their own
        for case in records(row, field, row.json(field)):
            cases.setdefault(str(case.get("input")).strip(), case)
    parts = [("", row.text("description"))]
    parts += [(title, row.text(field, "")) for title, field in _SECTIONS]
    tests = read_tests(row, "official_tests", [{**case, "type": "stdin"} for case in cases.values()])
    return Problem(
        task_id=str(row.id),
        prompt=paragraph("\n\n".join(f"{title}\n\n{text}".strip() for title, text in parts if text.strip())),
        tests={**tests, **_codeforces_checker(row), **_codeforces_limits(row)},
        where=row.where,
    )


_SECTIONS = (("## Input", "input_format"), ("## Output", "output_format"), ("## Note", "note"))


# A checker of open-r1 is a program that gets three files and prints 1 for a right output.
_CHECKER = """
import contextlib, io, sys

CHECKER = {checker!r}

def check(input, expected, output):
    names = ("input.txt", "correct_output.txt", "solution_output.txt")
    for name, text in zip(names, (input, expected, output)):
        with open(name, "w", encoding="utf-8") as file:
            file.write(text)
    sys.argv = ["checker.py", *names]
    printed = io.StringIO()
    with contextlib.suppress(SystemExit), contextlib.redirect_stdout(printed):
        exec(compile(CHECKER, "checker.py", "exec"), {{"__name__": "__main__"}})
    words = printed.getvalue().split()
    return bool(words) and words[-1] in ("1", "1.0", "True")
"""


def _codeforces_checker(row: Row) -> dict[str, Any]:
    checker = row.text("generated_checker", "")
    if not checker.strip():
        return {}
    if parse(checker) is None:
        raise BadInputError(f"{row.where}: `generated_checker` is {shown(checker)}, but must be Python. Drop the row.")
    return {"type": "checker", "checker": _CHECKER.format(checker=checker)}


def _codeforces_limits(row: Row) -> dict[str, Any]:
    limits: dict[str, Any] = {}
    seconds, size = row.fields.get("time_limit"), row.fields.get("memory_limit")
    if isinstance(seconds, (int, float)) and seconds > 0:
        limits["timeout_s"] = float(seconds)
    if isinstance(size, (int, float)) and 1 <= size < math.inf:
        limits["memory_limit_bytes"] = int(size * 2**20)  # given in megabytes
    return limits


LIVECODEBENCH = Format(
    "livecodebench",
    "LiveCodeBench",
    ("question_id", "question_content", "public_test_cases", "private_test_cases"),
    _load_livecodebench,
    licence="CC",
    reads="public and private tests. A pickle is decoded as text, and no code in it is run. The options `since` and "
    "`until` choose by `contest_date`. There are no solutions",
    refuses="private tests that are not text",
    date="contest_date",
)
KODCODE = Format(
    "kodcode",
    "KodCode",
    ("question_id", "question", "solution", "test"),
    _load_kodcode,
    licence="CC BY-NC 4.0: not for commercial use",
    reads="each function of the pytest module is a test",
    refuses="rows whose tests use fixtures are left out and counted",
    knows=("test_info",),
)
BIGCODEBENCH = Format(
    "bigcodebench",
    "BigCodeBench",
    ("task_id", "complete_prompt", "canonical_solution", "test", "entry_point", "libs"),
    _load_bigcodebench,
    licence="Apache-2.0",
    reads="rows that need only the standard library; each method of the `unittest` class is a test",
    refuses="rows that need other libraries are left out and counted",
)
CLASSEVAL = Format(
    "classeval",
    "ClassEval",
    ("task_id", "skeleton", "test", "solution_code", "class_name"),
    _load_classeval,
    licence="MIT",
    reads="classes that need only the standard library; each method of the `unittest` classes is a test; "
    "`import_statement` runs before the program",
    refuses="rows that need other libraries are left out and counted",
    knows=("test_classes",),
)
CODEFORCES = Format(
    "codeforces",
    "Codeforces (open-r1)",
    ("id", "description", "official_tests", "input_mode|generated_checker|contest_id"),
    _load_codeforces,
    licence="CC BY 4.0",
    reads="`examples` and `official_tests`, and `generated_tests` where they are joined to the row, judged by "
    "`generated_checker` if there is one; limits. There are no solutions",
    refuses="interactive problems, those that read files, and prompts for other languages are left out and counted",
    knows=("generated_checker", "generated_tests", "official_tests_complete", "examples"),
)
