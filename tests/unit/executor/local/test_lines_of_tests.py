"""Test the lines that ran for each test of a program."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from stepcoder_trl import CodeExecutor, Execution, ExecutorConfig, Outcome


SIGNS = """\
def sign(x):
    if x > 0:
        return 1
    elif x < 0:
        return 1 // 0
    return helper(x)

def helper(x):
    while x == 0:
        pass
"""
POSITIVE, NEGATIVE, ZERO = {1, 2, 3, 7, 8}, {1, 2, 4, 5, 7, 8}, {1, 2, 4, 6, 7, 8, 9, 10}
SCRIPT = """\
import os
x = int(input())
if x > 0:
    print(x)
elif x < 0:
    os._exit(0)
else:
    [].pop()
"""


def call(*inputs: int, **others: Any) -> dict[str, Any]:
    return {"type": "call", "fn_name": "sign", "inputs": [[x] for x in inputs], "outputs": [1] * len(inputs), **others}


def stdio(*inputs: int, kind: str = "stdio", **others: Any) -> dict[str, Any]:
    texts = [str(x) for x in inputs]
    return {"type": kind, "inputs": texts, "outputs": texts, **others}


def lines_of(execution: Execution) -> list[set[int] | None]:
    """Return the lines of each test, after a check against those of all tests."""
    lines = [None if test.executed_lines is None else set(test.executed_lines) for test in execution.tests]
    assert set().union(*(one or () for one in lines)) == execution.executed_lines
    return lines


def test_call_tests_have_own_lines(fast_executor: CodeExecutor) -> None:
    found = fast_executor.run(SIGNS, call(1, -1, 2, 0, 1, timeout_s=0.3))

    assert [test.outcome.value for test in found.tests] == ["passed", "runtime_error", "passed", "timeout", "passed"]
    assert lines_of(found) == [POSITIVE, NEGATIVE, POSITIVE, ZERO, POSITIVE]


def test_each_assert_has_own_lines(fast_executor: CodeExecutor) -> None:
    asserts = ["assert sign(1) == 1", "assert sign(-1) == 1", "value = sign(1)\nassert value == 1"]

    found = fast_executor.run(SIGNS, {"type": "assert", "setup": "", "asserts": asserts})

    assert lines_of(found) == [POSITIVE, NEGATIVE, POSITIVE]


def test_functions_of_a_test_module_have_own_lines(fast_executor: CodeExecutor) -> None:
    code = "def test_a():\n    assert sign(1) == 1\n\ndef test_b():\n    assert sign(-1) == 1\n"

    assert lines_of(fast_executor.run(SIGNS, {"type": "unittest", "code": code})) == [POSITIVE, NEGATIVE]


def test_examined_tests_have_own_lines(fast_executor: CodeExecutor) -> None:
    setup = "def check(candidate, x):\n    assert candidate(x) == 1\n"
    tests = {"type": "assert", "setup": setup, "asserts": ["check(sign, 1)", "check(sign, -1)"]}

    assert lines_of(fast_executor.run(SIGNS, tests)) == [POSITIVE, NEGATIVE]


@pytest.mark.parametrize("kind", ["stdio", "checker"])
def test_scripts_have_own_lines(kind: str, fast_executor: CodeExecutor) -> None:
    checker = {"checker": "def check(given, expected, printed):\n    return True\n"} if kind == "checker" else {}

    found = fast_executor.run(SCRIPT, stdio(1, -1, 0, 2, kind=kind, **checker))

    assert lines_of(found) == [{1, 2, 3, 4}, {1, 2, 3, 5, 6}, {1, 2, 3, 5, 7, 8}, {1, 2, 3, 4}]


def test_program_that_remembers_gives_each_test_all_lines(fast_executor: CodeExecutor) -> None:
    program = "answers = {}\ndef sign(x):\n    if x not in answers:\n        answers[x] = 1\n    return answers[x]\n"

    assert lines_of(fast_executor.run(program, call(1, 1))) == [{1, 2, 3, 4, 5}] * 2


def test_program_that_does_not_compile_ran_no_line(fast_executor: CodeExecutor) -> None:
    found = fast_executor.run("def sign(x:\n", call(1, 2))

    assert found.outcome is Outcome.COMPILE_ERROR
    assert lines_of(found) == [set(), set()]


def test_module_level_that_fails_counts_for_each_test(fast_executor: CodeExecutor) -> None:
    assert lines_of(fast_executor.run("def sign(x):\n    return 1\n1 / 0\n", call(1, 2))) == [{1, 3}] * 2


def test_settings_decide_about_lines() -> None:
    config = ExecutorConfig(num_workers=1)
    with CodeExecutor(replace(config, stop_on_first_failure=True)) as stopping:
        # The third test is not run, and has outcome and lines of the second.
        assert lines_of(stopping.run(SIGNS, call(1, -1, 1))) == [POSITIVE, NEGATIVE, NEGATIVE]
    with CodeExecutor(replace(config, fresh_process_per_test=True)) as fresh:
        program = (
            "answers = {}\ndef sign(x):\n    if x not in answers:\n        answers[x] = 1\n    else:\n        x = 1\n"
        )
        assert lines_of(fresh.run(program, call(1, 1))) == [{1, 2, 3, 4}] * 2
    with CodeExecutor(replace(config, trace=False)) as untraced:
        assert lines_of(untraced.run(SIGNS, call(1, -1))) == [None, None]
