"""Opening of an answer by a chat template."""

from __future__ import annotations

import json
import os.path
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from stepcoder_trl.errors import BadInputError


if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


OPENING_FENCE = "```python"
CHAT_TEMPLATE_KWARGS_HELP = (
    "Arguments of the chat template for prompts that are chat messages, as a JSON object such as "
    """'{"enable_thinking": false}'."""
)
RESERVED = ("add_generation_prompt", "continue_final_message", "conversation", "tokenize")

_THOUGHT_TAG = re.compile(r"([<\[])(/?)((?:\w+:)?(?:think|thinking|thought|reasoning))([>\]])", re.IGNORECASE)


def read_template_kwargs(value: Mapping[str, Any] | str | None) -> dict[str, Any] | None:
    """
    Return the arguments of a chat template, which the command line gives as a JSON object.

    Raises:
        BadInputError: If the text is no JSON object, or an argument is one that queries set themselves.
    """
    if value is None:
        return None
    try:
        found = json.loads(value) if isinstance(value, str) else dict(value)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise BadInputError(
            f"`chat_template_kwargs` is {value!r}, but must be a JSON object. Write it as "
            """'{"enable_thinking": false}'."""
        )
    for name in RESERVED:
        if name in found:
            raise BadInputError(f"`chat_template_kwargs` has `{name}`, which is set for each query. Leave it out.")
    return found


def open_answer(
    messages: Sequence[Mapping[str, Any]], tokenizer: PreTrainedTokenizerBase, kwargs: Mapping[str, Any] | None = None
) -> str:
    """
    Render messages and the beginning of the answer, which ends with the opening code fence.

    The template renders an assistant message that holds the fence. Thus a model that thinks gets an empty thought
    where its template writes one. If the template cannot render the message as the beginning of the answer, the fence
    follows the generation prompt. The fence never stands in an open thought.

    Args:
        messages (`Sequence[Mapping[str, Any]]`):
            Chat messages.
        tokenizer ([`~transformers.PreTrainedTokenizerBase`]):
            Tokenizer with a chat template.
        kwargs (`Mapping[str, Any]`, *optional*):
            Arguments of the template.

    Raises:
        BadInputError: If there is no chat template, or it refuses the messages.
    """
    if not tokenizer.chat_template:
        raise BadInputError(
            "The prompt is a list of chat messages, but the tokenizer has no chat template. Set its `chat_template`, "
            "use the prompt style 'deepseek', or write the prompt as text."
        )
    asked = _render(messages, tokenizer, kwargs)
    prompted = _render(messages, tokenizer, kwargs, add_generation_prompt=True)
    start = len(os.path.commonprefix([asked, prompted]))  # noqa: RUF071 (texts, not paths)
    opened = _opened_by_message(messages, tokenizer, kwargs)
    if opened is None or not opened.startswith(_turn(prompted, start)):
        opened = prompted
    return opened[:start] + _close_thought(opened[start:]) + OPENING_FENCE


def _render(
    messages: Sequence[Mapping[str, Any]],
    tokenizer: PreTrainedTokenizerBase,
    kwargs: Mapping[str, Any] | None,
    **settings: bool,
) -> str:
    """Render messages. Raises a `BadInputError` with the reason of a template that refuses them."""
    from jinja2 import TemplateError

    try:
        return str(tokenizer.apply_chat_template(list(messages), tokenize=False, **settings, **(kwargs or {})))
    except (TemplateError, TypeError, ValueError) as error:
        reason = " ".join(str(error).split())[:300].rstrip(".")
        raise BadInputError(
            f"The chat template cannot render the messages: {reason}. Change the messages, or give the tokenizer "
            "another `chat_template`."
        ) from error


def _opened_by_message(
    messages: Sequence[Mapping[str, Any]], tokenizer: PreTrainedTokenizerBase, kwargs: Mapping[str, Any] | None
) -> str | None:
    """Return the text before the fence of an assistant message. `None` if the template does not end with the fence."""
    answer = {"role": "assistant", "content": OPENING_FENCE}
    try:
        rendered = _render([*messages, answer], tokenizer, kwargs, continue_final_message=True)
    except BadInputError:  # e.g. a template that reads lists of content blocks only
        return None
    return rendered.removesuffix(OPENING_FENCE) if rendered.endswith(OPENING_FENCE) else None


def _turn(prompted: str, start: int) -> str:
    """
    Return a chat up to the first line of the generation prompt, without a thought.

    A template that does not know assistant messages renders one without that line.
    """
    line = prompted[start:].lstrip().partition("\n")[0]
    header = _THOUGHT_TAG.split(line, maxsplit=1)[0].rstrip()
    return prompted[: prompted.index(header, start) + len(header)]


def _close_thought(opening: str) -> str:
    """Close the thought that the opening of an answer leaves open, if there is one."""
    tags = list(_THOUGHT_TAG.finditer(opening))
    if not tags or tags[-1][2]:
        return opening
    left, _, name, right = tags[-1].groups()
    return f"{opening.rstrip()}\n\n{left}/{name}{right}\n\n"
