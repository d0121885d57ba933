"""Test the comparison rules."""

from __future__ import annotations

import tracemalloc
from collections import namedtuple
from datetime import date
from decimal import Decimal
from fractions import Fraction

import pytest

from stepcoder_trl.executor.verdict.compare import stdout_matches, values_match
from stepcoder_trl.executor.verdict.shorten import brief, difference
from stepcoder_trl.executor.wire.equality import Tolerance, python_equal


@pytest.mark.parametrize(
    ("actual", "expected", "matches"),
    [
        ("1\n2\n", "1\n2", True),
        ("1 \n2\t\n\n\n", "1\n2", True),
        ("1\r\n2\r\n", "1\n2", True),
        (" 1", "1", False),
        ("1\n\n2", "1\n2", False),
        ("1 2", "1  2", False),
        ("1", "1\n2", False),
        ("1.0", "1", False),
        ("", "", True),
        ("a\x0bb", "a\nb", False),
    ],
)
def test_stdout_ignores_trailing_white_space(actual, expected, matches):
    assert stdout_matches(actual, expected) is matches


def test_tolerance_of_a_row_applies_to_floats():
    assert values_match(1.05, 1.0, Tolerance(0.1, 0.1))
    assert not values_match(1.05, 1, Tolerance(0.1, 0.1))
    assert not values_match(1.0000001, 1.0, Tolerance(0.0, 0.0))
    assert values_match(1.0, 1.0, Tolerance(0.0, 0.0))


def test_tolerance_does_not_make_long_integers_equal():
    assert not stdout_matches("1" * 400, "2" * 400, float_tolerance=1e-6)
    assert stdout_matches("inf", "Infinity", float_tolerance=1e-6)


def test_float_tolerance_applies_to_words():
    assert stdout_matches("x 1.0000001 2", "x 1 2.0", float_tolerance=1e-6)
    assert not stdout_matches("x 1.1", "x 1", float_tolerance=1e-6)
    assert not stdout_matches("1 2", "1", float_tolerance=1e-6)


@pytest.mark.parametrize(
    ("actual", "expected", "matches"),
    [
        ((1, [2]), [1, (2,)], True),
        (2, 2.0, True),
        (0.1 + 0.2, 0.3, True),
        (float("nan"), float("nan"), True),
        (True, 1, False),
        (1, True, False),
        (True, True, True),
        ("1", 1, False),
        (b"a", "a", False),
        ({1: "a"}, {"1": "a"}, True),
        ({True: "a"}, {"1": "a"}, False),
        ({"1": 2}, {"1": 2}, True),
        ({1: 2, 2: 3}, {"1": 2}, False),
        ({1, 2}, [1, 2], False),
        (10**400, 1e308, False),
        (10**400, 10**400, True),
        (None, None, True),
        (None, 0, False),
        ([1, 2], [1], False),
        (float("inf"), float("inf"), True),
        # exact where the expected value is an int
        *(
            (1000000.4, 1000000, False),
            (1e18, 10**18 + 9, False),
            (9e-10, 0, False),
            (1000000300.0, 1000000007, False),
        ),
        *((1000000.0, 1000000, True), (-0.0, 0, True), (float("nan"), 0, False), (2.0**53, 2**53 + 1, False)),
        *(([1.0000001], [1], False), ({"a": (2, 1e-10)}, {"a": [2, 0]}, False), (1 + 0j, 1, False)),
        # with a tolerance where it is a float
        *((10**9 + 1, 1e9, True), (3, 3.0000001, True), (3, 3.1, False), (1e-10, 0.0, True), (10**400, 1.5, False)),
        *((float("inf"), 1e308, False), (float("-inf"), float("inf"), False)),
        # numbers of the standard library
        *((Decimal("1.5"), 1.5, True), (Decimal("2.0"), 2, True), (Decimal("2.0000001"), 2, False)),
        *((Fraction(1, 3), 0.333333333, True), (Fraction(6, 3), 2, True), (Decimal("sNaN"), 2.0, False)),
        *((Decimal("1e400"), 1e308, False), (Decimal("NaN"), 1, False)),
        # views, and keys of any length
        *(({1: 2, 3: 4}.keys(), [1, 3], True), ({1: 2}.items(), [[1, 2]], True), ({1: 2}.keys(), [2], False)),
        *(({10**5000: 1}, {"1" + "0" * 5000: 1}, True), ({10**5000 + 1: 1}, {"1" + "0" * 5000: 1}, False)),
        *(
            ({-3: 1}, {"-3": 1}, True),
            ({3: 1}, {"03": 1}, False),
            ({3: 1}, {"\u0663": 1}, False),
            ({3: 1}, {"x": 1}, False),
        ),
        *(({1: 2, "1": 3}, {"1": 3, "2": 2}, False), ({3.0: 1}, {"3": 1}, False)),
        *((date(2020, 1, 2), "2020-01-02", False), (range(2), [0, 1], False)),
    ],
)
def test_values_match_compares_structure(actual, expected, matches):
    assert values_match(actual, expected) is matches


@pytest.mark.parametrize(
    ("left", "right", "equal"),
    [
        (True, 1, True),
        ((1,), [1], False),
        ([0.1 + 0.2], [0.3], True),
        ({1: 0.1 + 0.2}, {1: 0.3}, True),
        ({"1": 2}, {1: 2}, False),
        (1, 2, False),
        ("a", "a", True),
        *(
            (5.0000001, 5, False),
            (5.0000001, 5.0, True),
            (10**9 + 1, 1e9, False),
            (5, 5.0, True),
            (1e18, 10**18 + 9, False),
        ),
        *(
            ([1, 1e-10], [1, 0], False),
            (Decimal("0.5"), 0.5, True),
            ({1: 2}.keys(), {1}, True),
            ({1: 2}.keys(), [1], False),
        ),
    ],
)
def test_python_equal_has_tolerance_for_floats(left, right, equal):
    assert python_equal(left, right) is equal


def test_elements_of_derived_classes_have_the_tolerance():
    point = namedtuple("point", "x y")

    assert python_equal(point(0.1 + 0.2, 1), (0.3, 1))
    assert not python_equal(point(0.1 + 0.2, 1), [0.3, 1])


def test_output_of_other_lines_is_not_split():
    printed = "\n" * 2**22 + "x"
    tracemalloc.start()

    assert not stdout_matches(printed, "x")
    assert difference(printed, "x") == "'', but expected 'x', in line 1"
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    assert peak < 2**24


def test_more_words_than_expected_are_not_split():
    printed = "15 " * 2**20
    tracemalloc.start()

    assert not stdout_matches(printed, "15 16", float_tolerance=1e-6)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    assert peak < 2**24


def test_long_numbers_are_described_without_their_digits():
    assert brief(Fraction(2**5000 + 1, 3)) == "Fraction(an int of 5001 bits, 3)"
    assert brief(range(3**9000)) == "range(0, an int of 14265 bits)"
    assert brief([range(1, 5, 2), range(3)]) == "[range(1, 5, 2), range(0, 3)]"
