"""Tokenizer and number of positions of a model, without its weights."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from stepcoder_trl.errors import BadInputError


def load_tokenizer(model: str, option: str) -> Any:
    """
    Load the tokenizer of a model's folder, or of the base model of an adapter. `option` names it in messages.

    Raises:
        BadInputError: If there is no such folder, or no tokenizer in it.
    """
    if not Path(model).is_dir():
        raise BadInputError(f"`{option}` is {model!r}, but must be a folder that `save_pretrained` wrote.")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(_with_tokenizer(model), local_files_only=True, padding_side="left")
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


def _with_tokenizer(model: str) -> str:
    """Return the folder or the name that holds the tokenizer: of an adapter saved without one, its base model."""
    settings = Path(model, "adapter_config.json")
    if not settings.is_file() or Path(model, "tokenizer_config.json").is_file():
        return model
    return str(json.loads(settings.read_text(encoding="utf-8"))["base_model_name_or_path"])


def num_positions(model: str) -> int | None:
    """Return the positions of the model in a folder. `None` if it has no limit, or the folder has no model."""
    if not Path(model, "config.json").is_file():
        return None
    from transformers import AutoConfig

    try:
        config = AutoConfig.from_pretrained(model, local_files_only=True).get_text_config()
    except (OSError, ValueError, KeyError) as error:
        reason = " ".join(str(error).split())[:200].rstrip(".")
        raise BadInputError(f"{model}/config.json cannot be read ({reason}). Save the model again.") from None
    positions: int | None = config.to_dict().get("max_position_embeddings")
    return positions
