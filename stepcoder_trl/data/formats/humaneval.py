"""Reads HumanEval, and the datasets in its form: HumanEval+ and HumanEvalPack."""

from __future__ import annotations

import re
from typing import Any

from stepcoder_trl.data.formats.cases import split_module
from stepcoder_trl.data.formats.common import Format, plain_line_ends
from stepcoder_trl.data.formats.evalplus import unrolled
from stepcoder_trl.data.problems import Problem
from stepcoder_trl.errors import BadInputError
from stepcoder_trl.jsonl import Row, shown


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
    # The harness of HumanEval calls a check that the module itself does not call.
    given = [] if tests and len(re.findall(r"\bcheck\s*\(", test)) > 1 else [f"check({entry_point})"]
    return {"type": "assert", "setup": setup, "asserts": [*given, *tests]}


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
