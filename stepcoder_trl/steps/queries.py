"""Queries, the text that the model is shown, and the program that a completion makes of one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from stepcoder_trl.errors import BadInputError
from stepcoder_trl.parsing import extract_program
from stepcoder_trl.types import Program


if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


Prompt = str | Sequence[Mapping[str, Any]]  # text, or chat messages


FENCE = "```"


@dataclass(frozen=True)
class Query:
    """
    Text that the model is shown.

    Attributes:
        text (`str`): Prompt and code, up to the last non-white-space character.
        prefix (`str`): Code that the program begins with, so stripped: starter code or the curriculum's prefix.
        token_ids (`tuple[int, ...]`): Tokens of `text`.
        opened_fence (`bool`): Whether the answer is inside a code fence.
    """

    text: str
    prefix: str
    token_ids: tuple[int, ...]
    opened_fence: bool = False


def query_text(prompt: Prompt, code: str, tokenizer: PreTrainedTokenizerBase) -> tuple[str, bool]:
    """
    Text of a query, and whether it opened a code fence.

    A plain prompt is followed by the code. Of a chat, the answer is opened: a fence, then the code.

    Args:
        prompt (`str` or `Sequence[Mapping]`):
            Requirement, as text or chat messages.
        code (`str`):
            Starter code or the curriculum's prefix, may be empty.
        tokenizer ([`~transformers.PreTrainedTokenizerBase`]):
            Its chat template renders messages.

    Returns:
        `tuple[str, bool]`: Text up to its last non-white-space character: the model writes the line end itself.
    """
    if isinstance(prompt, str):
        return (prompt + code).rstrip(), False
    opened = tokenizer.apply_chat_template(list(prompt), tokenize=False, add_generation_prompt=True)
    return f"{opened}{FENCE}python\n{code}".rstrip(), True


def build_query(prompt: Prompt, code: str, tokenizer: PreTrainedTokenizerBase) -> Query:
    """
    Build a query.

    Args:
        prompt (`str` or `Sequence[Mapping]`):
            Requirement, as text or chat messages.
        code (`str`):
            Starter code or the curriculum's prefix, may be empty.
        tokenizer ([`~transformers.PreTrainedTokenizerBase`]):
            Tokenizer of the model.

    Returns:
        [`Query`]

    Raises:
        BadInputError: If there is nothing to show, and the tokenizer has no BOS token to begin with.
    """
    text, opened_fence = query_text(prompt, code, tokenizer)
    # A chat template writes its special tokens itself.
    ids = tokenizer(text, add_special_tokens=not opened_fence)["input_ids"]
    if ids and ids[-1] == tokenizer.eos_token_id and not text.endswith(str(tokenizer.eos_token)):
        ids = ids[:-1]
    if not ids and tokenizer.bos_token_id is not None:
        ids = [tokenizer.bos_token_id]
    if not ids:
        raise BadInputError("The prompt is empty, and so is the starter code. Write a `prompt`.")
    return Query(text=text, prefix=code.rstrip(), token_ids=tuple(ids), opened_fence=opened_fence)


def program_of(query: Query, completion: str) -> Program:
    """Program that a completion makes of its query."""
    return extract_program(completion, query.prefix, opened_fence=query.opened_fence)
