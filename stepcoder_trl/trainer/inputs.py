"""Model and tokenizer of a trainer from what its caller passed: an object, a name on the Hub or a folder."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

import torch
from peft import PeftConfig
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel

from stepcoder_trl.errors import BadInputError, refuse_keywords
from stepcoder_trl.evaluation.engines import loading
from stepcoder_trl.jsonl import shown
from stepcoder_trl.trainer.models import base_of, refuse_virtual_tokens


@runtime_checkable
class _Submits(Protocol):
    """What a trainer needs of an executor."""

    def submit(self, program: str, tests: Any) -> Any:
        """Run a program in the background."""


_CRITIC = "`AutoModelForSequenceClassification.from_pretrained(path, num_labels=1)`"
_MODELS = {
    "ref_model": "`AutoModelForCausalLM.from_pretrained(path)`",
    "reward_model": _CRITIC,
    "value_model": _CRITIC,
}


def check_types(
    *,
    processing_class: Any = None,
    peft_config: Any = None,
    executor: Any = None,
    callbacks: Any = None,
    **models: Any,
) -> None:
    """
    Check the types of objects that a trainer got: one clear sentence instead of an error deep inside.

    Raises:
        BadInputError: If an argument is of another type. The message names it and shows how such an object is made.
    """
    if isinstance(processing_class, (str, os.PathLike, type)):
        raise _wrong("processing_class", processing_class, "a tokenizer", "`AutoTokenizer.from_pretrained(path)`")
    if peft_config is not None and not isinstance(peft_config, PeftConfig):
        raise _wrong("peft_config", peft_config, "an object of `peft`", '`LoraConfig(task_type="CAUSAL_LM")`')
    if isinstance(executor, type) or not (executor is None or isinstance(executor, _Submits)):
        raise _wrong("executor", executor, "an executor", "`CodeExecutor(ExecutorConfig())`, or leave it out")
    if callbacks is not None and not isinstance(callbacks, (list, tuple)):
        raise _wrong("callbacks", callbacks, "a list", "`[callback]`")
    for name, value in models.items():
        if value is not None and not isinstance(value, torch.nn.Module):
            raise _wrong(name, value, "a model", _MODELS[name])
        if value is not None and _MODELS[name] is _CRITIC:
            _check_head(name, base_of(value))


def check_keywords(misplaced: Mapping[str, Any], trainer: type, config: type) -> None:
    """Raise a `BadInputError` for keyword arguments that a trainer does not take, such as fields of its `config`."""
    call = f"{trainer.__name__}(..., args={config.__name__}(..., {{}}))"
    refuse_keywords(misplaced, trainer.__name__, config, call)


def _check_head(name: str, model: torch.nn.Module) -> None:
    """Raise a `BadInputError` if a model has no head that gives one number per token."""
    if "score" not in dict(model.named_children()):
        found = f"a {type(model).__name__}, which has no head called `score`"
    elif isinstance(model, PreTrainedModel) and model.config.num_labels != 1:
        found = f"a {type(model).__name__} with {model.config.num_labels} labels"
    else:
        return
    fix = ", or leave it out: one is made from the policy" if name == "value_model" else ""
    raise BadInputError(f"`{name}` is {found}, but must be a classifier with one label. Pass {_CRITIC}{fix}.")


def _wrong(name: str, value: Any, wanted: str, example: str) -> BadInputError:
    return BadInputError(f"`{name}` is {shown(value)}, but must be {wanted}. Pass {example}.")


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
    check_model(model)
    if isinstance(model, torch.nn.Module):
        return model
    with loading(os.fspath(model)):
        return AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)


def check_model(model: Any) -> None:
    """Raise a `BadInputError` for anything but a model that can generate, or a name or path of one."""
    if model is None:
        raise BadInputError("`model` is missing. Pass a causal language model, its name on the Hub, or its folder.")
    if not isinstance(model, (str, os.PathLike, torch.nn.Module)):
        raise _wrong("model", model, "a causal language model, its name on the Hub, or its folder", "one of them")
    bare = base_of(model) if isinstance(model, torch.nn.Module) else None
    if isinstance(bare, PreTrainedModel) and not bare.can_generate():
        raise BadInputError(
            f"`model` is a {type(bare).__name__}, which does not generate text. Load it by "
            "`AutoModelForCausalLM.from_pretrained(path)`."
        )


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


def check_end(tokenizer: Any) -> None:
    """Raise a `BadInputError` if a tokenizer has no token that ends a completion."""
    if tokenizer.eos_token_id is None:
        raise BadInputError("The tokenizer has no EOS token, which ends a completion. Set its `eos_token`.")


def refuse_reward_models(reward_funcs: Any) -> None:
    """Raise a `BadInputError` for a reward model among the reward functions: PPO takes it as `reward_model`."""
    for one in reward_funcs if isinstance(reward_funcs, (list, tuple)) else [reward_funcs]:
        if isinstance(one, torch.nn.Module):
            raise BadInputError(
                f"`reward_funcs` has a {type(one).__name__}, which is a reward model. Pass it as `reward_model`."
            )


def no_predictions() -> BadInputError:
    """Return the error for `predict`, which transformers' trainers have."""
    return BadInputError(
        "`predict` is not supported: programs are judged by tests, not compared with labels. Call "
        "`evaluate(dataset, metric_key_prefix='test')`, or sample with `stepcoder-trl evaluate --model DIR`."
    )
