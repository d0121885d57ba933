"""Test the comparison rules."""

from __future__ import annotations

import pytest

from stepcoder_trl.executor.verdict.compare import python_equal, stdout_matches, values_match


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
    ],
)
def test_python_equal_has_tolerance_for_floats(left, right, equal):
    assert python_equal(left, right) is equal
