"""Reads HumanEval, and the datasets in its form: HumanEval+ and HumanEvalPack."""

from __future__ import annotations

import ast
import re
from collections.abc import Sequence
from typing import Any

from stepcoder_trl.data.formats.cases import parts_that_run, split_module, without_main
from stepcoder_trl.data.formats.common import Format, plain_line_ends
from stepcoder_trl.data.formats.evalplus import unrolled
from stepcoder_trl.data.problems import Problem
from stepcoder_trl.errors import BadInputError
from stepcoder_trl.jsonl import Row, shown
from stepcoder_trl.parsing import parse


def _load_humaneval(row: Row) -> Problem:
    return _humaneval_problem(row, row.text("test"))


def _load_pack(row: Row) -> Problem:
    parts = (row.text("import", ""), row.text("test_setup", ""), row.text("test"))
    return _humaneval_problem(row, "\n".join(part for part in parts if part.strip()))


def _humaneval_problem(row: Row, test: str) -> Problem:
    stub, entry_point = row.text("prompt"), row.text("entry_point")
    return Problem(
        task_id=row.text("task_id"),
        prompt=f"Complete the Python function `{entry_point}`, which begins as follows.\n",
        starter_code=stub,
        canonical_solution=stub + row.text("canonical_solution"),
        tests=check_tests(row, test, entry_point),
        where=row.where,
    )


def check_tests(row: Row, test: str, entry_point: str) -> dict[str, Any]:
    """
    Return the tests of a module that defines `check(candidate)`.

    Some modules call it themselves. Their calls become the tests, so that a wrong answer fails a test and not the
    setup. A loop of EvalPlus over inputs and results becomes one test for each of them.
    """
    test = plain_line_ends(test)
    if not re.search(r"^def\s+check\s*\(", test, re.MULTILINE):
        raise BadInputError(f"{row.where}: `test` is {shown(test)}, but must define `check(candidate)`. Correct it.")
    setup, tests = split_module(test, entry_point)
    if not tests and entry_point.isidentifier():
        cases = unrolled(setup, entry_point)
        return {"type": "assert", "setup": cases.setup, "asserts": list(cases.statements)}
    if not tests or not _calls_check(test, entry_point):
        tests = _with_check(tests, f"check({entry_point})")
    return {"type": "assert", "setup": setup, "asserts": tests}


def _with_check(tests: Sequence[str], call: str) -> list[str]:
    """Return tests with the call that HumanEval's harness adds. What is no assert may prepare it, so it comes last."""
    tree = parse("\n".join(tests))
    if tree is not None and all(isinstance(node, ast.Assert) for node in tree.body):
        return [call, *tests]
    return ["\n".join((*tests, call))]


def _calls_check(test: str, entry_point: str) -> bool:
    """
    Return whether a module surely calls `check` with the entry point: itself, or in functions that it calls.

    A call in a block may not run, or its error may be caught. A `check` that is not called with one argument is of
    another kind, which the harness cannot call.
    """
    body = (parse(test) or ast.Module([], [])).body
    functions = {node.name: node.body for node in body if isinstance(node, ast.FunctionDef)}
    running = [part for node in body for part in without_main(node)]
    while running:
        node = running.pop()
        whole = node.value if isinstance(node, (ast.Expr, ast.Assign)) else None
        for call in parts_that_run(node):
            if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Name):
                continue
            given = [*call.args, *call.keywords]
            if call.func.id != "check":
                running += functions.pop(call.func.id, []) if call is whole else []
            elif len(given) != 1 or (call is whole and _names(given[0], entry_point)):
                return True
    return False


def _names(argument: ast.AST, entry_point: str) -> bool:
    name = entry_point.partition("(")[0]
    return any(isinstance(part, ast.Name) and part.id == name for part in ast.walk(argument))


HUMANEVAL = Format(
    "humaneval",
    "HumanEval",
    ("task_id", "prompt", "entry_point", "canonical_solution", "test"),
    _load_humaneval,
    licence="MIT; HumanEval+ Apache-2.0",
    reads="HumanEval and HumanEval+. The stub is the starter code; the test is `check(entry_point)`, in HumanEval+ "
    "one for each input",
    refuses="`test` without `check`",
)
HUMANEVAL_PACK = Format(
    "humanevalpack",
    "HumanEvalPack",
    ("task_id", "prompt", "entry_point", "canonical_solution", "test", "declaration", "buggy_solution"),
    _load_pack,
    licence="MIT",
    reads="the rows in Python, as `humaneval`; `import` and `test_setup` are part of the setup",
    refuses="rows of other languages",
    knows=("test_setup", "example_test"),
)
