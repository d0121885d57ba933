"""Prompt styles: plain text, chat message, or the prompt of the paper."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from stepcoder_trl.data.problems import Problem
from stepcoder_trl.errors import BadInputError


PROMPT_STYLES = ("plain", "chat", "deepseek")

# The instruct format of DeepSeek-Coder (from its README), with the instruction of the paper's appendix D.
DEEPSEEK_TEMPLATE = (
    "{{ bos_token }}You are an AI programming assistant, utilizing the Deepseek Coder model, developed by Deepseek "
    "Company, and you only answer questions related to computer science. For politically sensitive questions, "
    "security and privacy issues, and other non-computer science questions, you will refuse to answer.\n"
    "{% for message in messages %}{% if message['role'] == 'user' %}### Instruction:\nwrite an algorithm in python:\n"
    "{{ message['content'] }}\n{% else %}{{ message['content'] }}\n{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}### Response:\n{% endif %}"
)


def style_prompts(problems: Sequence[Problem], style: str, tokenizer: Any) -> list[Problem]:
    """
    Convert prompts to a style. Prompts that are chat messages are not changed.

    `"plain"`: unchanged. `"chat"`: a user message for the tokenizer's chat template. `"deepseek"`: the paper's
    zero-shot prompt (appendix D), in DeepSeek-Coder's instruct format. It replaces the tokenizer's chat template.
    """
    if style not in PROMPT_STYLES:
        raise BadInputError(f"The prompt style is {style!r}, but must be one of {', '.join(PROMPT_STYLES)}.")
    if style == "plain":
        return list(problems)
    if style == "deepseek":
        tokenizer.chat_template = DEEPSEEK_TEMPLATE
    if not tokenizer.chat_template:
        raise BadInputError("The tokenizer has no chat template. Use the prompt style 'plain' or 'deepseek'.")
    return [
        replace(problem, prompt=[{"role": "user", "content": problem.prompt.rstrip("\n")}])
        if isinstance(problem.prompt, str)
        else problem
        for problem in problems
    ]
