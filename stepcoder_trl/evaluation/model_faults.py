"""Faults of a model that libraries report deep inside, such as an index out of range, told in one sentence."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

import torch
from transformers import PreTrainedTokenizerBase

from stepcoder_trl.errors import BadInputError
from stepcoder_trl.evaluation.tokenizers import missing_embedding


def check_vocabulary(
    model: torch.nn.Module, tokenizer: PreTrainedTokenizerBase, sequences: Iterable[Sequence[int]]
) -> None:
    """
    Check that a model has an embedding for each token that it gets.

    A tokenizer may have more tokens than the model has embeddings, as long as no sequence holds them.

    Raises:
        BadInputError: If an embedding is missing. The message says how to add it.
    """
    embeddings = model.get_input_embeddings()
    if isinstance(embeddings, torch.nn.Embedding):
        complaint = missing_embedding(tokenizer, embeddings.num_embeddings, sequences)
        if complaint:
            raise BadInputError(complaint)


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
