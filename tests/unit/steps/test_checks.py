"""Test the check of problems before training."""

from __future__ import annotations

import json

import pytest

from stepcoder_trl.data.formats import LeftOut, RawRow, read_raw_rows
from stepcoder_trl.steps.checks import MISSING, NOT_RUN, QueryRule, check_rows


pytestmark = pytest.mark.sandbox
TESTS = {"type": "stdio", "inputs": ["1", "2"], "outputs": ["2", "4"]}
DOUBLE = "n = int(input())\nif n > 5:\n    pass\nfor i in range(2):\n    pass\nprint(2 * n)\n"
POINT = """class P:
    def __init__(self, x):
        self.x = x

    def __eq__(self, other):
        return self.x == other.x


def make():
    return P(1)
"""
ROWS = [
    {"task_id": "good", "prompt": "Double.", "canonical_solution": DOUBLE, "tests": TESTS},
    {"id": 2, "prompt": "Double.", "canonical_solution": "print(3)", "tests": TESTS, "difficulty": "easy"},
    {
        "task_id": "body",
        "prompt": "Double.",
        "starter_code": "def f(x):\n",
        "canonical_solution": "    return 2 * x\n",
        "tests": {"type": "call", "fn_name": "f", "inputs": [[1]], "outputs": [2]},
    },
    {"task_id": "unsolved", "prompt": "Double.", "tests": TESTS},
    {"task_id": "good", "prompt": "Twice.", "canonical_solution": DOUBLE, "tests": TESTS},
    {"task_id": "untested", "prompt": "Double."},
    {
        "task_id": "inside",
        "prompt": "Make a point.",
        "canonical_solution": POINT,
        "tests": {"type": "assert", "asserts": ["assert make() == P(1)"]},
    },
    {"task_id": "fenced", "prompt": "Double.", "canonical_solution": f"```python\n{DOUBLE}```", "tests": TESTS},
]


@pytest.fixture
def rows(tmp_path):
    path = tmp_path / "p.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    return read_raw_rows(path)


def test_every_row_is_checked(rows, executor):
    good, wrong, body, unsolved, repeated, untested, inside, fenced = check_rows(rows, executor, QueryRule())

    assert (good.solution, good.stages, good.tests, good.trusted_tests, good.is_wrong) == ("passed", 2, 2, 2, False)
    assert (wrong.task_id, wrong.solution, wrong.difficulty, wrong.stages) == ("2", "failed", "easy", 1)
    assert wrong.message == "wrong standard output: '3', but expected '2'"
    assert body.solution == "compile_error"
    assert "compiles with its starter code before it" in body.message
    assert body.left_out_of_sft == "its canonical solution does not begin with its starter code"
    assert (unsolved.solution, unsolved.tests, unsolved.trusted_tests, unsolved.is_wrong) == (MISSING, 2, 2, False)
    assert wrong.left_out_of_sft == "its canonical solution fails its tests (failed)"
    assert unsolved.left_out_of_sft == "it has no canonical solution"
    assert (repeated.task_id, repeated.is_wrong) == ("good", True)
    assert "p.jsonl:5: `task_id` 'good' (str) is already used by" in repeated.error
    assert "p.jsonl:1. Give" in repeated.error
    assert (untested.solution, untested.is_wrong) == (NOT_RUN, True)
    assert "`tests` is missing" in untested.error
    assert (inside.solution, inside.trusted_tests, inside.is_wrong) == ("passed", 0, False)
    assert fenced.message.endswith("It compiles without its code fence: drop the lines with ```")


def test_column_that_probably_holds_the_solution_is_named(tmp_path, executor):
    path = tmp_path / "p.jsonl"
    path.write_text(json.dumps({"task_id": "a", "prompt": "Double.", "solution": DOUBLE, "tests": TESTS}))

    (check,) = check_rows(read_raw_rows(path), executor, QueryRule())

    assert (check.solution, check.is_wrong) == (MISSING, True)
    assert check.message == "`solution` is not read. Did you mean `canonical_solution`?"


def test_id_that_ends_like_a_number_of_ours_is_no_repetition(tmp_path, executor):
    path = tmp_path / "p.jsonl"
    path.write_text("".join(json.dumps({**ROWS[0], "task_id": name}) + "\n" for name in ("a", "a#2")))

    checks = check_rows(read_raw_rows(path), executor, QueryRule())

    assert [(one.task_id, one.is_wrong) for one in checks] == [("a", False), ("a#2", False)]


def test_row_that_loading_skips_is_not_wrong(executor):
    row = RawRow(1, "a", None, LeftOut("p.jsonl:1", "is in C++", "Only Python is run."), (), {})

    (check,) = check_rows([row], executor, QueryRule())

    assert (check.skipped, check.error, check.is_wrong) == ("is in C++", "", False)


def test_long_queries_are_left_out(rows, executor, tokenizer):
    (good,) = check_rows(rows[:1], executor, QueryRule(tokenizer, limit=5))
    (scratch,) = check_rows(rows[:1], executor, QueryRule(tokenizer, limit=100, has_curriculum=False))
    (short,) = check_rows(rows[:1], executor, QueryRule(tokenizer, max_length=2))

    assert short.left_out_of_sft == f"its query has {scratch.query_tokens} tokens, and `max_length` is 2"
    assert (short.left_out, good.left_out_of_sft) == ("", "")
    assert good.left_out == f"its longest query has {good.query_tokens} tokens, more than 5"
    assert good.is_wrong
    assert (scratch.stages, scratch.left_out) == (1, "")
    assert scratch.query_tokens == len(tokenizer("Double.")["input_ids"]) < good.query_tokens
