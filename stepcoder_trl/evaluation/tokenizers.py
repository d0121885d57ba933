"""Tokenizer and number of positions of a model, without its weights."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from stepcoder_trl.errors import BadInputError
from stepcoder_trl.evaluation.places import check_place, tokenizer_source


def load_tokenizer(model: str, option: str) -> Any:
    """
    Load the tokenizer of a folder, of a model on the Hub, or of the base model of an adapter.

    Raises:
        BadInputError: If it cannot be reached, or holds no tokenizer. The message names `option`.
    """
    if not Path(model).is_dir():  # a folder may have a tokenizer and no model
        check_place(model)
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(tokenizer_source(model), padding_side="left")
    except (OSError, ValueError, KeyError, TypeError) as error:
        found = no_tokenizer(error)
        reason = "" if found else f" ({' '.join(str(error).split())[:200].rstrip('.')})"
        raise BadInputError(
            f"`{option}` {model!r} does not hold a tokenizer{reason}. Name a folder to which `save_pretrained` of the "
            "tokenizer wrote."
        ) from None


def no_tokenizer(error: Exception) -> str:
    """Return a reason in plain words if transformers found no file of a tokenizer, else an empty text."""
    return "it holds no tokenizer" if "instantiate the backend tokenizer" in str(error) else ""


def num_positions(model: str) -> int | None:
    """Return the positions of a model. `None` if it has no limit, or its folder has no model."""
    positions: int | None = text_config(model).get("max_position_embeddings")
    return positions


def text_config(model: str) -> dict[str, Any]:
    """Return the configuration of a model's text part. Empty if its folder has no model."""
    if Path(model).is_dir() and not Path(model, "config.json").is_file():
        return {}
    from transformers import AutoConfig

    try:
        found: dict[str, Any] = AutoConfig.from_pretrained(model).get_text_config().to_dict()
    except (OSError, ValueError, KeyError) as error:
        reason = " ".join(str(error).split())[:200].rstrip(".")
        raise BadInputError(f"`config.json` of {model!r} cannot be read ({reason}). Save the model again.") from None
    return found


def missing_embedding(tokenizer: Any, embeddings: int, sequences: Iterable[Sequence[int]] = ()) -> str:
    """
    Return what is wrong if a token has no embedding: one of `sequences`, or the one for padding or the end.

    A tokenizer may have more tokens than a model has embeddings, as long as nothing holds them. `sequences` are read
    only if it has. Empty if all is well.
    """
    if len(tokenizer) <= embeddings:
        return ""
    special = [one for one in (tokenizer.pad_token_id, tokenizer.eos_token_id) if one is not None]
    largest = max((max(ids, default=0) for ids in (special, *sequences)), default=0)
    if largest < embeddings:
        return ""
    return (
        f"The tokenizer has {len(tokenizer)} tokens, but the model has only {embeddings} embeddings, and none for "
        f"{tokenizer.convert_ids_to_tokens(largest)!r}. Call `model.resize_token_embeddings(len(tokenizer))` and save "
        "the model, or use the tokenizer of the model."
    )
