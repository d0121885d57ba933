"""Test the texts of sets of lines."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepcoder_trl.executor.wire.line_sets import MAX_CHARACTERS, bits_of, lines_of, packed


@given(st.frozensets(st.integers(0, 4 * MAX_CHARACTERS - 1), max_size=50))
def test_set_survives(lines: frozenset[int]) -> None:
    bits = bits_of(packed(lines))

    assert bits is not None
    assert lines_of(bits) == sorted(lines)


def test_lines_are_bits() -> None:
    assert packed([1, 2, 5]) == "26"  # 0b100110
    assert packed([4 * MAX_CHARACTERS]) is None


@pytest.mark.parametrize("claim", [None, 3, "", "-1", "0x1", "1_0", " 1", "g", "1" * (MAX_CHARACTERS + 1), [1]])
def test_anything_else_is_no_set(claim: object) -> None:
    assert bits_of(claim) is None
