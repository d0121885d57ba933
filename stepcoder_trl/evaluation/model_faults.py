"""Faults of a model that libraries report deep inside, such as an index out of range, told in one sentence."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

import torch
from transformers import PreTrainedTokenizerBase

from stepcoder_trl.errors import BadInputError


def check_vocabulary(
    model: torch.nn.Module, tokenizer: PreTrainedTokenizerBase, sequences: Iterable[Sequence[int]]
) -> None:
    """
    Check that a model has an embedding for each token that it gets.

    A tokenizer may have more tokens than the model has embeddings, as long as no sequence holds them. `sequences` are
    read only if it has.

    Raises:
        BadInputError: If an embedding is missing. The message says how to add it.
    """
    embeddings = model.get_input_embeddings()
    if not isinstance(embeddings, torch.nn.Embedding) or len(tokenizer) <= embeddings.num_embeddings:
        return
    special = [one for one in (tokenizer.pad_token_id, tokenizer.eos_token_id) if one is not None]
    largest = max((max(ids, default=0) for ids in (special, *sequences)), default=0)
    if largest >= embeddings.num_embeddings:
        raise BadInputError(
            f"The tokenizer has {len(tokenizer)} tokens, but the model has only {embeddings.num_embeddings} "
            f"embeddings, and none for {tokenizer.convert_ids_to_tokens(largest)!r}. Call "
            "`model.resize_token_embeddings(len(tokenizer))` and save the model, or use the tokenizer of the model."
        )


@contextmanager
def told_without_numbers() -> Iterator[None]:
    """Report logits from which nothing can be sampled in one sentence."""
    try:
        yield
    except RuntimeError as error:
        if "probability tensor contains" not in str(error):
            raise
        raise BadInputError(
            "Nothing can be sampled, since the model's logits are infinite or no numbers (NaN). Its weights are "
            "damaged, or training has diverged: lower `learning_rate`, and go on from an earlier checkpoint."
        ) from error
