"""Tokens of a completion that are kept, given the kept lines of its program."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepcoder_trl.masking import completion_loss_mask
from stepcoder_trl.parsing import extract_program, line_spans
from tests.strategies import partitions, source_like_texts
from tests.unit.masking.examples import kept_text, one_token_per_character


def test_fence_and_prose_outside_program_are_kept():
    completion = "Sure:\n```python\na = 1\nb = 2\n```\nDone"
    program = extract_program(completion)
    tokens = [*one_token_per_character(completion), (len(completion), len(completion))]

    mask = completion_loss_mask(tokens, completion, program, {1})

    assert kept_text(completion, mask) == "Sure:\n```python\na = 1......\n```\nDone"
    assert mask[-1]


def test_outside_program_false_drops_fence_and_prose():
    completion = "Sure:\n```python\na = 1\nb = 2\n```\nDone"
    program = extract_program(completion)
    tokens = [*one_token_per_character(completion), (len(completion), len(completion))]

    mask = completion_loss_mask(tokens, completion, program, {1}, outside_program=False)

    assert kept_text(completion, mask) == "." * 15 + "\na = 1" + "." * 15
    assert not mask[-1]


def test_completion_may_start_within_a_line_of_prefix():
    completion = " 1:\n        return x\n    return y\n```"
    program = extract_program(completion, "def f(x):\n    if x >")
    tokens = one_token_per_character(completion)

    mask = completion_loss_mask(tokens, completion, program, {1, 2, 4})

    assert kept_text(completion, mask) == " 1:.................\n    return y\n```"


def test_kept_lines_of_prefix_keep_no_token():
    completion = "\n    return 1\n"
    program = extract_program(completion, "def f():")

    mask = completion_loss_mask(one_token_per_character(completion), completion, program, {1})

    assert not any(mask)


@given(data=st.data(), completion=source_like_texts(), prefix=source_like_texts(), outside=st.booleans())
def test_all_lines_keep_all_tokens_of_program(data, completion, prefix, outside):
    program = extract_program(completion, prefix)
    tokens = data.draw(partitions(len(completion)))
    lines = range(1, len(line_spans(program.text)) + 1)

    mask = completion_loss_mask(tokens, completion, program, lines, outside_program=outside)

    start, end = program.span
    inside = [any(not c.isspace() for c in completion[max(lo, start) : min(hi, end)]) for lo, hi in tokens]
    assert all(mark for mark, is_inside in zip(mask, inside, strict=True) if is_inside)
    assert all(mark is outside for mark, (lo, hi) in zip(mask, tokens, strict=True) if lo == hi)


@pytest.mark.parametrize(("kept", "expected"), [({1}, False), ({2}, True)])
def test_completion_of_white_space_goes_with_end_of_prefix(kept, expected):
    completion = "\n   "
    program = extract_program(completion, "def f():\n    pass")

    assert completion_loss_mask([(0, 1), (1, 4)], completion, program, kept) == [expected, expected]


def test_completion_of_white_space_without_prefix_is_kept_with_its_lines():
    assert completion_loss_mask([(0, 2)], "\n\n", extract_program("\n\n"), {1, 2}) == [True]
    assert completion_loss_mask([(0, 2)], "\n\n", extract_program("\n\n"), set()) == [False]
