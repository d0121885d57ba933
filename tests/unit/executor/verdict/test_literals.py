"""Test that what a test's own literals make is evaluated only where it is cheap."""

from __future__ import annotations

import math
import time

import pytest

from stepcoder_trl.executor.verdict.asserts import split_assert
from stepcoder_trl.executor.verdict.literals import Literals, NotEvaluatedError
from stepcoder_trl.parsing import any_digits, expression_tree


FUNCTIONS = {
    "bytes": bytes,
    "int": int,
    "len": len,
    "list": list,
    "math.isclose": math.isclose,
    "max": max,
    "range": range,
    "round": round,
    "sorted": sorted,
    "str": str,
    "sum": sum,
}


def evaluated(text: str) -> object:
    return Literals(FUNCTIONS, {}).evaluate(expression_tree(text)).value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("2**1000 * 3**500 + 10**18 - 7", 2**1000 * 3**500 + 10**18 - 7),
        ("7 % 4 + 7 // 2 + (1 << 4) + (9 >> 1)", 3 + 3 + 16 + 4),
        ("10 / 4", 2.5),
        ("2 ** -1", 0.5),
        ("[0] * 3 + 2 * [1]", [0, 0, 0, 1, 1]),
        ("(1,) * -1", ()),
        ("{1, 2} | {3}", {1, 2, 3}),
        ("'ab' * 2 + str(-5)", "abab-5"),
        ("[{'a': (1, -2)}] * 2", [{"a": (1, -2)}] * 2),
        ("len(str(9**6000))", 5726),
        ("round(2.675, 2) + round(1234, -2)", round(2.675, 2) + 1200),
        ("sorted([3, 1, 2], reverse=True)", [3, 2, 1]),
        ("sum(range(1000))", 499500),
        ("math.isclose(math.pi, 3.14, rel_tol=1e-2)", True),
        ("range(10**30)", range(10**30)),
    ],
)
def test_literals_have_the_value_that_python_gives_them(text, value):
    with any_digits():
        found = evaluated(text)

    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    "text",
    [
        "round(5, -100000000)",
        "round(5, ndigits=-100000000)",
        "round(5, int('-100000000'))",
        "'%100000000d' % 5",
        "str('%100000000d') % 5",
        "b'%100000000d' % 5",
        "[0] * int('999999999')",
        "[0] * len(range(10**9))",
        "max(10**9, 1) * 'a'",
        "list(range(int(1e9)))",
        "int('9' * 1000) ** 1000000",
        "int('9' * 100000)",
        "1 << int('9999999999')",
        "1 << 9999 << 10**9",
        "bytes(max(2**40, 1))",
        "[[0] * 10**4] * 10**4",
        "str([[0] * 1000] * 1000)",
        "sum([[0]] * 10000, [])",
        "(9**9999)**9999",
    ],
)
def test_what_takes_long_to_make_is_not_made(text):
    began = time.monotonic()

    with any_digits(), pytest.raises(NotEvaluatedError):
        evaluated(text)

    assert time.monotonic() - began < 1


@pytest.mark.parametrize("text", ["1 / 0", "int('x')", "[1] - [2]", "f(1)", "[*range(3)]", "{**{}}", "'a' @ 1", "x"])
def test_what_fails_is_not_evaluated(text):
    with pytest.raises(NotEvaluatedError):
        evaluated(text)


def test_literals_of_one_statement_are_limited_together():
    assert split_assert("assert f(1) == [[0] * 10**4, [0] * 10**4]") is not None
    assert split_assert(f"assert f(1) == [{'[0] * 10**4, ' * 20}]") is None


@pytest.mark.parametrize(
    ("statement", "value"),
    [
        ("assert f(1) == str(9**6000)", "str(9**6000)"),
        ("assert f(1) == int('9' * 5000)", "10**5000 - 1"),
        ("assert f(1) == len(str(9**6000))", "5726"),
    ],
)
def test_long_integers_of_a_test_are_judged_under_the_limit_of_digits(statement, value):
    with any_digits():
        split = split_assert(statement)
        answer = eval(value)

    assert split.holds(answer)
