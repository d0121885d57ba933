"""Tests that compare results of two functions of the program run with it: both may be objects."""

from __future__ import annotations

import pytest

from stepcoder_trl.executor.verdict.examinable import plan_check


HELPERS = (
    "def same(a, b):\n    return a == b\n"
    "def check(move, make):\n"
    "    found = []\n    for n in range(3):\n        found.append(move(n))\n"
    "    assert found == [make(n) for n in range(3)]\n"
    "def check_each(move, make):\n    assert all(map(lambda a, b: a == b, [move(1)], [make(2)]))\n"
    "def check_one(move):\n    assert move(1) == 2 and move(2) == move(2)\n"
)
COMPARING = {
    "variable": "p = moved(1)\nassert p == Point(2)",
    "two variables": "p = moved(1)\nq = Point(2)\nassert p != q",
    "list": "assert [moved(1)] == [Point(2)]",
    "dict": "assert {1: moved(1)} == {1: Point(2)}",
    "element": "found = [moved(1), 3]\nassert found[0] == Point(2)",
    "choice": "assert moved(1) in (Point(2), Point(3))",
    "method": "assert [moved(1)].count(Point(2)) == 1",
    "loop": "for a, b in zip([moved(1)], [Point(2)]):\n    assert a == b",
    "library": "import operator\nassert operator.eq(moved(1), Point(2))",
    "assignment expression": "assert (p := moved(1)) and p == Point(2)",
    "augmented": "p = [moved(1)]\np += [2]\nassert p == [Point(2), 2]",
    "function of the setup": "assert same(moved(1), Point(2))",
    "functions passed on": "check(moved, Point)",
    "functions passed on to a lambda": "check_each(moved, Point)",
    "keyword": "check(make=Point, move=moved)",
}
PLAIN = {
    "literals": "assert moved(1) == 2 and Point(2) == 3",
    "both in one tuple": "assert (moved(1), other(2)) == (2, 3)",
    "inverse": "code = encode('a')\nassert decode(code) == 'a'",
    "same function": "assert [moved(1)] == [moved(1)]",
    "lengths": "assert len(moved(1)) == len(other(1))",
    "one function passed on": "check_one(moved)",
}


@pytest.mark.parametrize("kind", COMPARING)
def test_comparison_of_two_functions_runs_with_the_program(kind):
    assert plan_check(COMPARING[kind], HELPERS, "") is None


@pytest.mark.parametrize("kind", PLAIN)
def test_comparison_with_values_of_the_test_is_examined(kind):
    assert plan_check(PLAIN[kind], HELPERS, "") is not None
