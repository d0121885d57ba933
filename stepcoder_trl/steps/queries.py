"""Queries: the text that the model continues."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from stepcoder_trl.errors import BadInputError
from stepcoder_trl.parsing import extract_program
from stepcoder_trl.steps.chat_templates import open_answer
from stepcoder_trl.types import Program


if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


Prompt = str | Sequence[Mapping[str, Any]]  # text, or chat messages


FENCE = "```"


@dataclass(frozen=True)
class Query:
    """
    Text that the model continues.

    Attributes:
        text (`str`): Prompt and code, without trailing white space.
        prefix (`str`): Starter code or prefix, without trailing white space. The program begins with it.
        token_ids (`tuple[int, ...]`): Tokens of `text`.
        opened_fence (`bool`): Whether the answer begins inside a code fence.
    """

    text: str
    prefix: str
    token_ids: tuple[int, ...]
    opened_fence: bool = False


def query_text(
    prompt: Prompt,
    code: str,
    tokenizer: PreTrainedTokenizerBase,
    chat_template_kwargs: Mapping[str, Any] | None = None,
) -> tuple[str, bool]:
    """
    Return the text of a query, and whether it opens a code fence.

    A text prompt is followed by the code. With chat messages, the chat template opens the answer, which begins with a
    fence and the code. Trailing white space is removed: the model writes the line end itself.
    """
    if isinstance(prompt, str):
        return (prompt + code).rstrip(), False
    return f"{open_answer(prompt, tokenizer, chat_template_kwargs)}\n{code}".rstrip(), True


def build_query(
    prompt: Prompt,
    code: str,
    tokenizer: PreTrainedTokenizerBase,
    chat_template_kwargs: Mapping[str, Any] | None = None,
    *,
    task_id: str | None = None,
) -> Query:
    """
    Build a query from a prompt, which is text or chat messages, and starter code or a prefix of the curriculum.

    Args:
        prompt (`str` or `Sequence[Mapping[str, Any]]`):
            Text or chat messages.
        code (`str`):
            Starter code or prefix, may be empty.
        tokenizer ([`~transformers.PreTrainedTokenizerBase`]):
            Tokenizer of the model.
        chat_template_kwargs (`Mapping[str, Any]`, *optional*):
            Arguments of the chat template, such as `enable_thinking`.
        task_id (`str`, *optional*):
            Problem that an error names.

    Returns:
        [`Query`]

    Raises:
        BadInputError: If the chat template is missing or refuses the messages, or if prompt and code are empty and the
            tokenizer has no BOS token.
    """
    try:
        text, opened_fence = query_text(prompt, code, tokenizer, chat_template_kwargs)
    except BadInputError as error:
        raise BadInputError(str(error) if task_id is None else f"Problem {task_id!r}: {error}") from error
    # A chat template already contains the special tokens.
    ids = tokenizer(text, add_special_tokens=not opened_fence)["input_ids"]
    if ids and ids[-1] == tokenizer.eos_token_id and not text.endswith(str(tokenizer.eos_token)):
        ids = ids[:-1]
    if not ids and tokenizer.bos_token_id is not None:
        ids = [tokenizer.bos_token_id]
    if not ids:
        raise BadInputError("The prompt is empty, and so is the starter code. Write a `prompt`.")
    return Query(text=text, prefix=code.rstrip(), token_ids=tuple(ids), opened_fence=opened_fence)


def program_of(query: Query, completion: str) -> Program:
    """Return the program that a query and its completion form."""
    return extract_program(completion, query.prefix, opened_fence=query.opened_fence)
