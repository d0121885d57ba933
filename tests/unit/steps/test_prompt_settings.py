from __future__ import annotations

from types import SimpleNamespace

import pytest

from stepcoder_trl.data.prompts import DEEPSEEK_TEMPLATE
from stepcoder_trl.steps.prompt_settings import style_of


TEXT, MESSAGES = "Add.", [{"role": "user", "content": "Add."}]


@pytest.mark.parametrize(
    ("prompts", "template", "style"),
    [
        ([TEXT, TEXT], "own", "plain"),
        ([MESSAGES, MESSAGES], "own", "chat"),
        ([MESSAGES], DEEPSEEK_TEMPLATE, "deepseek"),
        # With `chat` the text would have become messages.
        ([TEXT, MESSAGES], "own", "plain"),
        ([MESSAGES, TEXT], DEEPSEEK_TEMPLATE, "plain"),
        ([], "own", "plain"),
    ],
)
def test_style_is_plain_where_text_stayed_as_it_is(prompts, template, style):
    assert style_of(iter(prompts), SimpleNamespace(chat_template=template)) == style
