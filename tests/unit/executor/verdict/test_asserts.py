"""Test which asserts can be split, and into which parts."""

from __future__ import annotations

import pytest

from stepcoder_trl.executor.verdict.asserts import split_assert
from stepcoder_trl.executor.verdict.setups import rebound_by
from stepcoder_trl.executor.wire.codec import Unserializable


@pytest.mark.parametrize(
    ("statement", "expression", "right", "wrong"),
    [
        ("assert f(1) == 2", "f(1)", 2, 3),
        ("assert [1, 2] == f()", "f()", [1, 2], (1, 2)),
        ("assert f(1) != 2, 'message'", "f(1)", 3, 2),
        ("assert f(1) is None", "f(1)", None, 0),
        ("assert f(1) is not True", "f(1)", 1, True),
        ("assert f(1) in (1, 2)", "f(1)", 2, 3),
        ("assert 3 not in f(1)", "f(1)", [1], [3]),
        ("assert set(f(1)) == set([1, 2])", "set(f(1))", {1, 2}, {1}),
        ("assert sorted(f([2, 1])) == [1, 2]", "sorted(f([2, 1]))", [1, 2], [2, 1]),
        ("assert round(f(1), 2) == 0.33", "round(f(1), 2)", 0.33, 0.34),
        ("assert math.isclose(f(1), 0.5, rel_tol=0.001)", "f(1)", 0.5001, 0.6),
        ("assert isclose(f(1), 0.5)", "f(1)", 0.5, 0.6),
        ("assert abs(f(1) - 0.5) < 1e-6", "f(1)", 0.5, 0.6),
        ("assert f(1) == -(10 ** 2)", "f(1)", -100, 100),
        ("assert Solution().f(1).value == 2", "Solution().f(1).value", 2, 1),
        ("assert sum(1, 2) == 3", "sum(1, 2)", 3, 2),
        ("assert f(x=float('inf')) == float('inf')", "f(x=float('inf'))", float("inf"), 1.0),
        ("assert f(1) == {'a': [1, None]}", "f(1)", {"a": [1, None]}, {"a": [1]}),
    ],
)
def test_comparison_runs_outside(statement, expression, right, wrong):
    split = split_assert(statement)

    assert split.expression == expression
    assert split.holds(right)
    assert not split.holds(wrong)


@pytest.mark.parametrize(("statement", "holds"), [("assert f(1)", True), ("assert not f(1)", False)])
def test_bare_expression_needs_only_its_truth_value(statement, holds):
    split = split_assert(statement)

    assert split.truth
    assert split.holds(True) is holds


@pytest.mark.parametrize(
    "statement",
    [
        "assert same(f(1), [2])",
        "x = f(1)\nassert x == 2",
        "assert all(f(i) == i for i in range(3))",
        "assert f(1) == 2 or g(2) == 3",
        "assert f(1) * [0] == []",
        "assert type(f(1)) is int",
        "assert f(1) == f(2)",
        "assert f() == expected",
        "assert f(1) == Point(1)",
        "assert f(a) is not a",
        "assert f(1) is 300",
        "check(f)",
        "assert 1 == 1",
        "assert f(1) ==",
        "assert 2 ** 10 ** 9 == f(1)",
    ],
)
def test_other_statements_are_not_split(statement):
    assert split_assert(statement) is None


@pytest.mark.parametrize(
    ("statement", "value", "holds"),
    [
        ("assert f(1) != 5", 5.0000001, True),
        ("assert f(1) != 5.0", 5.0000001, True),
        ("assert f(1) != 1e9", 10**9 + 1, True),
        ("assert f(1) != 5", 5.0, False),
        ("assert f(1) != [0.3]", [0.1 + 0.2], True),
        ("assert f(1) == [0.3]", [0.1 + 0.2], True),
        ("assert not f(1) == 0.3", 0.1 + 0.2, False),
        ("assert f(1) in (0.3, 0.4)", 0.1 + 0.2, False),
        ("assert f(1) not in (0.3, 0.4)", 0.1 + 0.2, True),
        ("assert f(1) == 1000000", 1000000.4, False),
        ("assert 0 == f(1)", 9e-10, False),
        ("assert f(1) < 5", 5.0, False),
        ("assert f(1) == True", 1, True),
    ],
)
def test_only_equality_has_a_tolerance(statement, value, holds):
    split = split_assert(statement)

    assert split.holds(value) is holds


def test_opaque_values_fail_every_comparison():
    split = split_assert("assert f(1) == 2")

    assert not split.holds(Unserializable("Liar"))


@pytest.mark.parametrize(
    ("statement", "value", "holds"),
    [
        ("assert 2.5 in f(1)", range(2**60), False),
        ("assert 2.0 in f(1)", range(2**60), True),
        ("assert 'a' not in f(1)", range(2**60), True),
        ("assert True in f(1)", range(2**60), True),
        ("assert None in f(1)", range(2**60), False),
        ("assert f(1) in range(10 ** 17)", "a", False),
        ("assert f(1) in range(10 ** 17)", 7, True),
    ],
)
def test_membership_in_long_range_is_fast(statement, value, holds):
    split = split_assert(statement)

    assert split.holds(value) is holds


@pytest.mark.parametrize(
    ("statement", "is_split"),
    [
        ("assert f(1) == [0] * 10**10", False),
        ("assert f(1) == 'ab' * 1000 * 1000", False),
        ("assert f(1) == sum(range(10**12))", False),
        ("assert f(1) == list(range(10**5)) * 10**5", False),
        ("assert f(1) == (9**9999)**9999", False),
        ("assert f(1) == bytes(2**40)", False),
        ("assert f(1) == 2**1000 * 3**500 + 10**18 - 7", True),
        ("assert f(1) == [0] * 1000 + ['a' * 50] * 20", True),
        ("assert f(1) == sum(range(1000)) + 10**9", True),
        ("assert f(1) == round(3.14159 * 10**8, 2)", True),
    ],
)
def test_values_that_take_long_to_make_are_not_made_here(statement, is_split):
    assert (split_assert(statement) is not None) is is_split


@pytest.mark.parametrize(
    ("setup", "is_split"),
    [
        ("def max(values): return 7", False),
        ("from numpy import *", False),
        ("from operator import *", True),  # has no `max`
        ("from operator import *\nmax = max", False),
        ("from math import *\nfrom typing import *", True),
        ("def least(values): return 7", True),
    ],
)
def test_builtin_that_the_row_binds_is_not_pythons(setup, is_split):
    split = split_assert("assert f(max([1, 2])) == 8", rebound_by(setup))

    assert (split is not None) is is_split


@pytest.mark.parametrize(
    ("setup", "is_split"),
    [
        ("", True),
        ("import math, sys\nfrom math import isclose, pi", True),
        ("from math import *", True),
        ("from numpy import isclose", False),
        ("from numpy import *", False),
        ("from cmath import *", False),
        ("from math import isclose as close", True),
        ("def isclose(a, b): return a > b", False),
    ],
)
def test_closeness_of_the_row_is_not_that_of_math(setup, is_split):
    split = split_assert("assert isclose(f(1), 0.5)", rebound_by(setup))

    assert (split is not None) is is_split


def test_module_under_the_name_of_math_is_not_math():
    assert split_assert("assert f(1) == math.pi", rebound_by("import cmath as math")) is None
    assert split_assert("assert f(1) == math.pi", rebound_by("import math")) is not None


@pytest.mark.parametrize(
    ("answer", "is_close"),
    [(0.5, True), (0.5 + 1e-7, True), (0.6, False), (None, False), ("a", False), (0.5 + 1e-9j, True)],
)
def test_closeness_of_translated_tests_asks_for_numbers(answer, is_close):
    split = split_assert("assert _isclose_(f(1), 0.5, rel_tol=1e-06, abs_tol=1e-12)")

    assert split is not None
    assert split.holds(answer) is is_close
