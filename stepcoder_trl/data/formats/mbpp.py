"""Reads MBPP in its three published forms, the third with the tests of EvalPlus."""

from __future__ import annotations

import ast
from collections.abc import Sequence

from stepcoder_trl.data.formats.cases import read_module
from stepcoder_trl.data.formats.common import BASE_TESTS, Format
from stepcoder_trl.data.formats.evalplus import Cases, unrolled
from stepcoder_trl.data.problems import Problem
from stepcoder_trl.executor.verdict.modules import asserts_of_module
from stepcoder_trl.jsonl import Row
from stepcoder_trl.parsing import parse


_OF_TESTS = ("challenge_test_list", "test_imports", "test_setup_code")


def _load_mbpp(row: Row) -> Problem:
    return _mbpp_problem(row, row.text("text"), row.text("test_setup_code", ""))


def _load_mbpp_sanitized(row: Row) -> Problem:
    return _mbpp_problem(row, row.text("prompt"), "\n".join(row.texts("test_imports")))


def _load_mbpp_plus(row: Row) -> Problem:
    cases = _extended(row, row.text("test"))
    imports = "\n".join(row.texts("test_imports"))
    setup = "\n".join(part for part in (imports, cases.setup) if part.strip())
    known = set(map(_normal, row.texts("test_list")))
    others = [statement for statement in cases.statements if _normal(statement) not in known]
    return _mbpp_problem(row, row.text("prompt"), setup, others, shown_setup=imports)


def _extended(row: Row, test: str) -> Cases:
    """Return the tests of `test`. A module that tests nothing when it runs is refused."""
    cases = unrolled(test)
    if cases.statements != (test,) or parse(test) is None:
        return cases
    tests = read_module(row, test, "test")
    if tests["type"] != "assert":
        translated = asserts_of_module(test)
        return Cases(translated.setup, tuple(translated.asserts))
    return Cases(tests["setup"], tuple(tests["asserts"]))


def _normal(statement: str) -> str:
    """Return a statement in one spelling."""
    tree = parse(statement)
    return statement if tree is None else ast.unparse(tree)


def _mbpp_problem(
    row: Row, text: str, setup: str, extended: Sequence[str] = (), shown_setup: str | None = None
) -> Problem:
    """Return a problem whose prompt ends with the asserts, as is usual for MBPP. Only they name the function."""
    asserts = row.texts("test_list")
    base = [*asserts, *row.texts("challenge_test_list")]
    shown_setup = setup if shown_setup is None else shown_setup
    shown_tests = "\n".join(part.strip() for part in (shown_setup, *asserts) if part.strip())
    return Problem(
        task_id=f"MBPP/{row.identifier('task_id')}",
        prompt=f"{text.strip()}\nYour code should pass these tests:\n\n{shown_tests}\n",
        canonical_solution=row.text("code"),
        tests={
            "type": "assert",
            "setup": setup,
            "asserts": [*base, *extended],
        },
        columns={BASE_TESTS: len(base)} if extended else {},
        where=row.where,
    )


MBPP = Format(
    "mbpp",
    "MBPP",
    ("task_id", "text", "code", "test_list"),
    _load_mbpp,
    licence="CC BY 4.0",
    reads="`text` and the asserts of `test_list` are the prompt; these and `challenge_test_list` are the tests; "
    "`test_setup_code` is their setup",
    knows=_OF_TESTS,
)
MBPP_SANITIZED = Format(
    "mbpp_sanitized",
    "MBPP",
    ("task_id", "prompt", "code", "test_list"),
    _load_mbpp_sanitized,
    licence="CC BY 4.0",
    reads="as `mbpp`; `test_imports` are the setup",
    knows=_OF_TESTS,
)
MBPP_PLUS = Format(
    "mbpp_plus",
    "MBPP+",
    ("task_id", "prompt", "code", "test_list", "test"),
    _load_mbpp_plus,
    licence="Apache-2.0",
    reads="as `mbpp_sanitized`; each input of `test` is a test of its own, after those of `test_list`",
    knows=_OF_TESTS,
)
