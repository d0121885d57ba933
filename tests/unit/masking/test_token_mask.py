"""Tokens that overlap executed lines."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepcoder_trl.masking import executed_token_mask
from tests.strategies import partitions, source_like_texts, spans


Spans = list[tuple[int, int]]


def slow_executed_token_mask(token_spans: Spans, executed_spans: Spans) -> list[bool]:
    """Compare every token with every line."""
    return [any(max(start, lo) < min(end, hi) for lo, hi in executed_spans) for start, end in token_spans]


def slow_mask_with_text(token_spans: Spans, executed_spans: Spans, text: str) -> list[bool]:
    """Mark tokens one character at a time."""
    executed = {offset for span in executed_spans for offset in range(*span)}
    visible = [
        [at for at in range(start, min(end, len(text))) if not text[at].isspace()] for start, end in token_spans
    ]
    mask = []
    for index, (start, end) in enumerate(token_spans):
        later = [at for at in visible[index:] if at]
        earlier = [at for at in visible[:index] if at]
        text_of = later[0] if later else earlier[-1] if earlier else []
        mask.append(start < end and any(at in executed for at in text_of))
    return mask


@given(tokens=spans(), lines=spans())
def test_mask_equals_slow_version(tokens, lines):
    assert executed_token_mask(tokens, lines) == slow_executed_token_mask(tokens, lines)


@given(tokens=spans(), lines=spans(), more=spans())
def test_more_executed_lines_never_unmark_a_token(tokens, lines, more):
    before = executed_token_mask(tokens, lines)
    after = executed_token_mask(tokens, lines + more)

    assert all(b <= a for b, a in zip(before, after, strict=True))


@given(data=st.data(), text=source_like_texts(), lines=spans(max_offset=60))
def test_mask_with_text_equals_slow_version(data, text, lines):
    tokens = data.draw(partitions(len(text)))

    assert executed_token_mask(tokens, lines, text) == slow_mask_with_text(tokens, lines, text)


def test_token_across_two_lines_is_marked_and_empty_token_is_not():
    mask = executed_token_mask([(0, 4), (4, 4), (4, 8), (3, 5)], [(0, 4)])

    assert mask == [True, False, False, True]


def test_white_space_goes_with_next_text_and_at_end_with_previous_text():
    text = "a\n    b\n  "
    tokens = [(0, 1), (1, 6), (6, 7), (7, 8), (8, 10)]

    assert executed_token_mask(tokens, [(0, 2)], text) == [True, False, False, False, False]
    assert executed_token_mask(tokens, [(2, 8)], text) == [False, True, True, True, True]


def test_white_space_of_executed_line_marks_no_token():
    mask = executed_token_mask([(0, 3)], [(0, 1)], "\n b")

    assert mask == [False]


@pytest.mark.parametrize(("tokens", "lines"), [([(3, 2)], []), ([], [(3, 2)])])
def test_span_that_ends_before_it_starts_raises(tokens, lines):
    with pytest.raises(ValueError, match=r"Span \(3, 2\) ends before it starts"):
        executed_token_mask(tokens, lines)


def test_long_mask_is_fast():
    text = "ab cd\n" * 20_000
    tokens = [(offset, offset + 1) for offset in range(len(text))]
    lines = [(offset, offset + 6) for offset in range(0, len(text), 12)]

    begin = time.process_time()
    executed_token_mask(tokens, lines, text)
    executed_token_mask(tokens, lines)

    assert time.process_time() - begin < 5  # comparing all pairs would take hours
