from __future__ import annotations

import copy

import pytest

from stepcoder_trl.data.prompts import style_prompts
from stepcoder_trl.errors import BadInputError
from stepcoder_trl.steps.queries import build_query


def test_plain_style_keeps_prompts(problems, tokenizer):
    assert style_prompts(problems, "plain", tokenizer) == problems


def test_chat_style_opens_code_fence(problems, tokenizer):
    (styled, *_) = style_prompts(problems, "chat", tokenizer)

    query = build_query(styled.prompt, styled.starter_code, tokenizer)
    assert query.text == "<|user|>\nWrite sign number 0.\n<|assistant|>\n```python\ndef sign(x):"


def test_deepseek_style_matches_paper(problems, tokenizer):
    own = copy.deepcopy(tokenizer)

    (styled, *_) = style_prompts(problems, "deepseek", own)

    text = build_query(styled.prompt, styled.starter_code, own).text
    assert text.startswith("<bos>You are an AI programming assistant")  # as DeepSeek-Coder's own template
    assert text.endswith(
        "### Instruction:\nwrite an algorithm in python:\nWrite sign number 0.\n### Response:\n```python\ndef sign(x):"
    )


def test_invalid_style_or_missing_template_raises(problems, tokenizer):
    without = copy.deepcopy(tokenizer)
    without.chat_template = None

    with pytest.raises(BadInputError, match="no chat template"):
        style_prompts(problems, "chat", without)
    with pytest.raises(BadInputError, match="must be one of plain, chat, deepseek"):
        style_prompts(problems, "poem", tokenizer)
