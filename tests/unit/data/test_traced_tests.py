"""Lists of inputs and asserts become tests whose lines are traced one by one."""

from __future__ import annotations

import json

import pytest

from stepcoder_trl import CodeExecutor, ExecutorConfig
from stepcoder_trl.data.formats import load_problems
from tests.unit.data.published_rows import (
    ACECODE,
    EVALPLUS,
    HUMANEVAL_PLUS,
    LEETCODE_2,
    LIVECODEBENCH,
    MBPP_PLUS,
    VERL,
)


FUNCTION = "def inc(x):\n    if x < 2:\n        return x + 1\n    y = x\n    return y + 1\n"
METHOD = "class Solution:\n" + "".join(f"    {line}\n" for line in FUNCTION.replace("(x)", "(self, x)").splitlines())
ASSERTS = {"functional": "assert inc(1) == 2\nassert inc(2) == 3\n"}
# A row, a program, and the lines of its body that each test runs.
ROWS = {
    "acecode": (ACECODE, FUNCTION, [{2, 3}, {2, 4, 5}]),
    "leetcode": (LEETCODE_2, METHOD, [{3, 4}, {3, 5, 6}]),
    "evalplus": (
        {**EVALPLUS, "canonical_solution": "    return x + 1\n"},
        FUNCTION,
        [{2, 3}, {2, 3}, {2, 4, 5}, {2, 3}, {2, 4, 5}],
    ),
    "humaneval_plus": (HUMANEVAL_PLUS, FUNCTION, [{2, 3}, {2, 4, 5}, {2, 3}]),
    "mbpp_plus": (
        MBPP_PLUS,
        "def half(xs):\n    if not xs:\n        return 0\n    return sum(xs) / 2\n",
        [{2, 4}, {2, 4}, {2, 4}, {2, 3}, {2, 4}],
    ),
    "livecodebench": (LIVECODEBENCH, FUNCTION, [{2, 3}, {2, 4, 5}]),
    "verl": ({**VERL, "reward_model": {"ground_truth": json.dumps(ASSERTS)}}, FUNCTION, [{2, 3}, {2, 4, 5}]),
}


@pytest.fixture(scope="module")
def traced():
    with CodeExecutor(ExecutorConfig(num_workers=1)) as executor:
        yield executor


@pytest.mark.sandbox
@pytest.mark.parametrize("name", ROWS)
def test_each_test_has_lines_of_its_own(traced, write_rows, name):
    row, program, lines = ROWS[name]
    (problem,) = load_problems(write_rows(row))

    execution = traced.run(program, problem.tests)

    body = set(range(3 if name == "leetcode" else 2, len(program.splitlines()) + 1))
    assert execution.outcome == "passed"
    assert [set(test.executed_lines or ()) & body for test in execution.tests] == lines
    assert set(execution.executed_lines) & body == set().union(*lines)
