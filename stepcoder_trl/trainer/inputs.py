"""Model and tokenizer of a trainer from what its caller passed: an object, a name on the Hub or a folder."""

from __future__ import annotations

import os
from typing import Any

import torch
from peft import PeftConfig
from transformers import AutoModelForCausalLM, AutoTokenizer

from stepcoder_trl.errors import BadInputError
from stepcoder_trl.evaluation.engines import loading
from stepcoder_trl.trainer.models import base_of, refuse_virtual_tokens


def load(model: Any, processing_class: Any, peft_config: PeftConfig | None) -> tuple[Any, Any]:
    """Return model and tokenizer, see [`load_model`] and [`load_tokenizer`]."""
    model = load_model(model, peft_config)
    return model, load_tokenizer(processing_class, model)


def load_model(model: Any, peft_config: PeftConfig | None = None) -> Any:
    """
    Return a model. A name or a path is loaded in float32, in which small steps are not rounded away.

    Raises:
        BadInputError: If it is missing or cannot be loaded, or an adapter puts virtual tokens in front of the input.
    """
    refuse_virtual_tokens(model, peft_config)
    if model is None:
        raise BadInputError("`model` is missing. Pass a causal language model, its name on the Hub, or its folder.")
    if not isinstance(model, (str, os.PathLike)):
        return model
    with loading(os.fspath(model)):
        return AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)


def load_tokenizer(processing_class: Any, model: torch.nn.Module) -> Any:
    """
    Return a tokenizer. `None` means that of the model, which is loaded by the model's name.

    Raises:
        BadInputError: If the model has no name, or there is no tokenizer beside it.
    """
    if processing_class is not None:
        return processing_class
    name = base_of(model).config.name_or_path
    if not name:
        raise BadInputError(
            "`processing_class` is missing, and the model has no name by which its tokenizer could be found. Pass the "
            "tokenizer."
        )
    with loading(name):
        return AutoTokenizer.from_pretrained(name, padding_side="left")


def refuse_reward_models(reward_funcs: Any) -> None:
    """Raise a `BadInputError` for a reward model among the reward functions: PPO takes it as `reward_model`."""
    for one in reward_funcs if isinstance(reward_funcs, (list, tuple)) else [reward_funcs]:
        if isinstance(one, torch.nn.Module):
            raise BadInputError(
                f"`reward_funcs` has a {type(one).__name__}, which is a reward model. Pass it as `reward_model`."
            )
