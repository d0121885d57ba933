"""Prefix tokens: the tokens of a query behind the starter code."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepcoder_trl.curriculum import curriculum_stages
from stepcoder_trl.curriculum.cut import shown_code
from stepcoder_trl.steps.prefixes import prefix_lengths
from stepcoder_trl.steps.queries import build_query
from stepcoder_trl.steps.rows import PromptRow
from stepcoder_trl.steps.starts import Start
from tests.conftest import SIGN


SHOWN = "\n    if x > 0:\n        return 1\n    if x < 0:\n        return -1"
CHAT = [{"role": "user", "content": "Write sign.\n"}]


def start_of(tokenizer, stage, prompt="Write sign.\n", starter_code="def sign(x):\n", solution=SIGN):
    row = PromptRow("sign", prompt, starter_code, solution)
    code = (stage.prefix if stage else "") or starter_code
    return Start(row, stage, build_query(prompt, code, tokenizer), 0)


def shown_text(tokenizer, start):
    (length,) = prefix_lengths([start], tokenizer)
    ids = start.query.token_ids
    return tokenizer.decode(ids[len(ids) - length :])


@pytest.mark.parametrize("prompt", ["Write sign.\n", CHAT])
def test_prefix_tokens_are_those_behind_the_starter_code(tokenizer, prompt):
    stage, scratch = curriculum_stages(SIGN, "def sign(x):\n")

    assert shown_text(tokenizer, start_of(tokenizer, stage, prompt)) == SHOWN
    assert prefix_lengths([start_of(tokenizer, scratch, prompt)], tokenizer) == [0]
    assert prefix_lengths([start_of(tokenizer, None, prompt)], tokenizer) == [0]


@pytest.mark.parametrize(
    ("starter_code", "shown"),
    [
        ("", "def sign(x):" + SHOWN),
        ("def sign(x):\n    if x > 0:\n", SHOWN.removeprefix("\n    if x > 0:")),
        ("def sign(value: int) -> int:\n", SHOWN),  # another header: the solution's is its end
    ],
)
def test_starter_code_ends_where_the_curriculum_says(tokenizer, starter_code, shown):
    stage, _ = curriculum_stages(SIGN, starter_code)

    assert shown_code(SIGN, starter_code, stage.prefix) == shown
    assert shown_text(tokenizer, start_of(tokenizer, stage, starter_code=starter_code)) == shown


def test_token_that_begins_in_the_starter_code_is_no_prefix_token(tokenizer):
    solution = "for i in range(10):\n    print(i)\n    if i:\n        pass\n    if i > 1:\n        pass\n"
    starter_code = "for i in ra"  # inside a token
    stage = curriculum_stages(solution, starter_code)[0]

    shown = shown_text(tokenizer, start_of(tokenizer, stage, starter_code=starter_code, solution=solution))

    assert solution.index(shown) > len(starter_code)
    assert shown.endswith("pass")


@given(
    prompt=st.text("ab\n é", max_size=20),
    code=st.sampled_from(["", "def sign(x):\n", "def sign(x):\n    if x > 0:\n"]),
)
def test_prefix_tokens_lie_behind_the_query_from_scratch(tokenizer, prompt, code):
    stage, scratch = curriculum_stages(SIGN, code)
    full, empty = (start_of(tokenizer, one, "p" + prompt, code) for one in (stage, scratch))

    (length,) = prefix_lengths([full], tokenizer)

    given_ids = full.query.token_ids[: len(full.query.token_ids) - length]
    assert length > 0
    assert tokenizer.decode(given_ids).startswith(empty.query.text.rstrip()[: len(tokenizer.decode(given_ids))])
    assert len(tokenizer.decode(given_ids)) >= len(empty.query.text.rstrip())
