"""Text and character spans of sampled tokens."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stepcoder_trl.tokens import token_texts, without_added_space
from tests.unit.tokenizers_by_kind import (
    BYTE_EXACT,
    TEXTS,
    TOKENIZERS,
    byte_level_tokenizer,
    literal_tokenizer,
    metaspace_tokenizer,
    word_piece_tokenizer,
)


@pytest.fixture(scope="module", params=BYTE_EXACT.values(), ids=BYTE_EXACT)
def byte_exact(request):
    return request.param()


@pytest.fixture(scope="module", params=TOKENIZERS.values(), ids=TOKENIZERS)
def any_tokenizer(request):
    return request.param()


@pytest.fixture(scope="module")
def byte_level():
    return byte_level_tokenizer()


def encode(tokenizer: Any, text: str) -> list[int]:
    ids: list[int] = tokenizer.encode(text, add_special_tokens=False)
    return ids


def decode(tokenizer: Any, ids: list[int]) -> str:
    text: str = tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
    return text


@pytest.mark.parametrize("text", TEXTS)
def test_text_equals_decoded_text(byte_exact, text):
    ids = encode(byte_exact, text)

    tokenized = token_texts(ids, byte_exact)

    # SentencePiece encodes a space before the text. Its decoder removes it.
    assert tokenized.text in (text, " " + text)
    assert decode(byte_exact, ids) in (tokenized.text, tokenized.text.removeprefix(" "))


@pytest.mark.parametrize("text", TEXTS)
def test_spans_cover_text_in_order(any_tokenizer, text):
    ids = encode(any_tokenizer, text)

    tokenized = token_texts(ids, any_tokenizer)

    assert len(tokenized.spans) == len(ids)
    assert all(start <= end for start, end in tokenized.spans)
    covered = {offset for span in tokenized.spans for offset in range(*span)}
    assert covered == set(range(len(tokenized.text)))
    assert sorted(start for start, _ in tokenized.spans) == [start for start, _ in tokenized.spans]


@pytest.mark.parametrize("build", [metaspace_tokenizer, word_piece_tokenizer, literal_tokenizer])
def test_text_of_other_vocabularies_equals_decoded_text(build):
    tokenizer = build()
    ids = encode(tokenizer, "def foo return 1 x")

    tokenized = token_texts(ids, tokenizer)

    assert tokenized.text.strip() == decode(tokenizer, ids).strip()


def test_span_of_word_piece_token_is_the_text_that_it_adds():
    tokenizer = word_piece_tokenizer()

    tokenized = token_texts([3, 4, 5, 8], tokenizer)

    assert tokenized.text == "def foo 1"
    assert [tokenized.text[start:end] for start, end in tokenized.spans] == ["def", " f", "oo", " 1"]


def test_special_tokens_have_empty_spans(any_tokenizer):
    ids = encode(any_tokenizer, "x")

    tokenized = token_texts([any_tokenizer.eos_token_id, *ids, any_tokenizer.eos_token_id], any_tokenizer)

    end = len(tokenized.text)
    assert (tokenized.spans[0], tokenized.spans[-1]) == ((0, 0), (end, end))
    assert tokenized.text.strip() == decode(any_tokenizer, ids).strip()


def test_named_eos_token_has_no_text(any_tokenizer):
    *ids, end = encode(any_tokenizer, "x = y")
    ids = [token_id for token_id in ids if token_id != end]

    tokenized = token_texts([*ids, end], any_tokenizer, eos_token_ids=[end])

    assert tokenized.text == token_texts(ids, any_tokenizer).text
    assert tokenized.spans[-1] == (len(tokenized.text), len(tokenized.text))


def test_added_token_is_kept_as_literal_text(byte_level):
    ids = encode(byte_level, "a<added text>b")

    tokenized = token_texts(ids, byte_level)

    assert tokenized.text == "a<added text>b"
    assert tokenized.spans == ((0, 1), (1, 13), (13, 14))


def test_tokens_that_share_a_character_all_span_it(byte_exact):
    ids = encode(byte_exact, "a\U0001f600b")

    tokenized = token_texts(ids, byte_exact)

    at = tokenized.text.index("\U0001f600")
    assert sum(span == (at, at + 1) for span in tokenized.spans) == 4


def test_bytes_of_incomplete_character_become_replacement_character(byte_level):
    ids = encode(byte_level, "a\U0001f600")[:-1]

    tokenized = token_texts(ids, byte_level)

    assert tokenized.text == "a\ufffd" == decode(byte_level, ids)
    assert tokenized.spans == ((0, 1), (1, 2), (1, 2), (1, 2))


@settings(deadline=None, max_examples=200)
@given(data=st.data())
def test_text_of_random_ids_equals_decoded_text(byte_level, data):
    ids = data.draw(st.lists(st.integers(0, len(byte_level) + 3), max_size=30))

    tokenized = token_texts(ids, byte_level)

    assert tokenized.text == decode(byte_level, [token_id for token_id in ids if token_id < len(byte_level)])
    assert len(tokenized.spans) == len(ids)
    assert all(0 <= start <= end <= len(tokenized.text) for start, end in tokenized.spans)


@given(st.lists(st.binary(max_size=5), max_size=12))
def test_bytes_are_decoded_as_python_does(pieces):
    from stepcoder_trl.tokens import _join

    tokenized = _join(pieces)

    data = b"".join(pieces)
    assert tokenized.text == data.decode("utf-8", errors="replace")
    for index, piece in enumerate(pieces):
        start, end = tokenized.spans[index]
        before = len(b"".join(pieces[:index]))
        assert (start == end) == (not piece)
        # The text of the bytes up to a token's end is never longer than the token's end.
        assert end >= len(data[: before + len(piece)].decode("utf-8", errors="ignore"))


def test_no_tokens_give_empty_text(any_tokenizer):
    tokenized = token_texts([], any_tokenizer)

    assert (tokenized.text, tokenized.spans) == ("", ())


@pytest.mark.parametrize("text", [text for text in TEXTS if text])
def test_space_that_the_tokenizer_adds_before_a_text_is_removed(byte_exact, text):
    tokens = without_added_space(token_texts(encode(byte_exact, text), byte_exact), text)

    assert tokens.text == text
    assert tokens.spans[0][0] == 0 < tokens.spans[0][1]
    assert tokens.spans[-1][1] == len(text)
