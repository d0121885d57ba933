"""Queries and programs."""

from __future__ import annotations

import copy

import pytest

from stepcoder_trl.errors import BadInputError
from stepcoder_trl.steps.queries import Query, build_query, program_of


CHAT = [{"role": "system", "content": "You write Python."}, {"role": "user", "content": "Add two numbers."}]


def test_a_plain_query_is_the_prompt_and_the_code_up_to_the_last_visible_character(tokenizer):
    query = build_query("Add two numbers.\n", "def add(a, b):\n    ", tokenizer)

    assert query.text == "Add two numbers.\ndef add(a, b):"
    assert query.prefix == "def add(a, b):"
    assert tokenizer.decode(query.token_ids) == query.text
    assert not query.opened_fence


def test_without_code_the_query_is_the_prompt(tokenizer):
    query = build_query("Add two numbers.\n\n", "", tokenizer)

    assert (query.text, query.prefix) == ("Add two numbers.", "")


def test_in_a_chat_the_code_stands_in_the_opened_answer(tokenizer):
    query = build_query(CHAT, "def add(a, b):\n", tokenizer)

    assert query.text == (
        "<|system|>\nYou write Python.\n<|user|>\nAdd two numbers.\n<|assistant|>\n```python\ndef add(a, b):"
    )
    assert query.opened_fence


def test_a_chat_without_code_opens_the_fence(tokenizer):
    assert build_query(CHAT, "", tokenizer).text.endswith("<|assistant|>\n```python")


def test_special_tokens_of_a_plain_prompt_are_the_tokenizers_and_never_eos(tokenizer, monkeypatch):
    original = type(tokenizer).__call__

    def with_both(self, text, add_special_tokens=True, **kwargs):
        ids = original(self, text, add_special_tokens=False, **kwargs)["input_ids"]
        return {"input_ids": [self.bos_token_id, *ids, self.eos_token_id] if add_special_tokens else ids}

    monkeypatch.setattr(type(tokenizer), "__call__", with_both)

    plain, chat = build_query("Add.", "", tokenizer), build_query(CHAT, "", tokenizer)

    assert plain.token_ids[0] == tokenizer.bos_token_id
    assert tokenizer.eos_token_id not in plain.token_ids
    assert tokenizer.bos_token_id not in chat.token_ids


def test_empty_query_is_the_bos_token_or_is_refused(tokenizer):
    without = copy.deepcopy(tokenizer)
    without.bos_token = None

    assert build_query("", "", tokenizer).token_ids == (tokenizer.bos_token_id,)
    with pytest.raises(BadInputError, match="Write a `prompt`"):
        build_query("", "", without)


def test_the_program_is_the_code_and_the_completion():
    plain = program_of(Query("q", "def f():", (1,)), "\n    return 1\n")
    chat = program_of(Query("q", "def f():", (1,), opened_fence=True), "\n    return 1\n```\nDone.")

    assert plain.text == "def f():\n    return 1\n"
    assert chat.text == "def f():\n    return 1\n"
