"""Engines that generate completions: a model in memory, a model or adapter in a folder, vLLM."""

from __future__ import annotations

import importlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from stepcoder_trl.errors import BadInputError
from stepcoder_trl.evaluation.generation import SamplingConfig, generate
from stepcoder_trl.evaluation.sampling import Engine, GeneratedText
from stepcoder_trl.steps.queries import Query
from stepcoder_trl.tokens import token_texts


VLLM_RANKS = (8, 16, 32, 64, 128, 256)  # values of `max_lora_rank` that every release of vLLM accepts


@contextmanager
def loading(model: str) -> Iterator[None]:
    """
    Report a model or tokenizer that cannot be loaded in one line.

    Args:
        model (`str`):
            Folder or name of the model that the block loads.

    Raises:
        BadInputError: If transformers raises an `OSError`, whose message has many lines.
    """
    try:
        yield
    except OSError as error:
        reason = str(error).partition("\n")[0]
        raise BadInputError(f"The model {model!r} cannot be loaded: {reason} Check the path.") from error


def tokenizer_source(model: str) -> str:
    """
    Find the tokenizer of a model.

    Args:
        model (`str`):
            Folder or name of a model or PEFT adapter.

    Returns:
        `str`: Folder or name to load the tokenizer from. For an adapter saved without tokenizer: its base model.
    """
    settings = _adapter_settings(model)
    if settings is None or Path(model, "tokenizer_config.json").is_file():
        return model
    return str(settings["base_model_name_or_path"])


def _adapter_settings(model: str) -> dict[str, Any] | None:
    """Read the settings of a PEFT adapter. `None` for a model that is no adapter."""
    path = Path(model, "adapter_config.json")
    if not path.is_file():
        return None
    settings: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return settings


def model_engine(model: torch.nn.Module, tokenizer: Any, sampling: SamplingConfig) -> Engine:
    """
    Generate with a model in memory.

    Args:
        model ([`~transformers.PreTrainedModel`]):
            Causal language model, in evaluation mode when the engine is called.
        tokenizer ([`~transformers.PreTrainedTokenizerBase`]):
            Tokenizer of the model.
        sampling ([`SamplingConfig`]):
            Sampling settings.

    Returns:
        `Engine`
    """

    def engine(queries: Sequence[Query], seed: int | None) -> list[GeneratedText]:
        if seed is not None:
            torch.manual_seed(seed)
        generation = generate(model, queries, tokenizer, sampling, len(queries))
        rows = zip(generation.completion_ids(), generation.stopped.tolist(), strict=True)
        return [GeneratedText(token_texts(ids, tokenizer).text, len(ids), stopped) for ids, stopped in rows]

    return engine


def transformers_engine(
    model: str, dtype: str, tokenizer: Any, sampling: SamplingConfig, device: torch.device
) -> Engine:
    """
    Generate with a model that transformers loads.

    Args:
        model (`str`):
            Folder or name of a model or PEFT adapter.
        dtype (`str`):
            Data type of the weights. `"auto"` means that of the checkpoint.
        tokenizer ([`~transformers.PreTrainedTokenizerBase`]):
            Tokenizer of the model.
        sampling ([`SamplingConfig`]):
            Sampling settings.
        device (`torch.device`):
            Device of the model.

    Returns:
        `Engine`
    """
    from transformers import AutoModelForCausalLM

    auto_class = AutoModelForCausalLM
    if _adapter_settings(model) is not None:
        from peft import AutoPeftModelForCausalLM

        auto_class = AutoPeftModelForCausalLM
    loaded = auto_class.from_pretrained(model, dtype="auto" if dtype == "auto" else getattr(torch, dtype))
    loaded.to(device).eval()
    return model_engine(loaded, tokenizer, sampling)


def vllm_engine(model: str, dtype: str, tokenizer: Any, sampling: SamplingConfig, seed: int) -> Engine:
    """
    Generate with vLLM.

    Args:
        model (`str`):
            Folder or name of a model or LoRA adapter. vLLM applies an adapter to its base model.
        dtype (`str`):
            Data type of the weights. `"auto"` means that of the checkpoint.
        tokenizer ([`~transformers.PreTrainedTokenizerBase`]):
            Tokenizer of the model.
        sampling ([`SamplingConfig`]):
            Sampling settings.
        seed (`int`):
            Seed of vLLM.

    Returns:
        `Engine`: Each completion of a batch gets a seed of its own.

    Raises:
        BadInputError: If vLLM is not installed, or does not support the adapter.
    """
    try:
        vllm = importlib.import_module("vllm")
        lora = importlib.import_module("vllm.lora.request")
    except ImportError:
        raise BadInputError(
            "The engine 'vllm' needs vLLM. Run `pip install stepcoder-trl[vllm]`, or leave `--engine` out."
        ) from None
    adapter = _adapter_settings(model)
    if adapter is None:
        loaded, request = vllm.LLM(model=model, dtype=dtype, seed=seed), None
    else:
        base, rank = str(adapter["base_model_name_or_path"]), _max_lora_rank(model, adapter)
        loaded = vllm.LLM(model=base, dtype=dtype, seed=seed, enable_lora=True, max_lora_rank=rank)
        request = lora.LoRARequest("policy", 1, str(Path(model).absolute()))

    def settings(completion_seed: int | None) -> Any:
        return vllm.SamplingParams(
            max_tokens=sampling.max_new_tokens,
            temperature=sampling.temperature,
            top_p=sampling.top_p,
            stop_token_ids=[] if sampling.stop_token_id is None else [sampling.stop_token_id],
            seed=completion_seed,
        )

    def engine(queries: Sequence[Query], batch_seed: int | None) -> list[GeneratedText]:
        prompts = [{"prompt_token_ids": list(query.token_ids)} for query in queries]
        seeds = [None if batch_seed is None else batch_seed + number for number in range(len(queries))]
        outputs = loaded.generate(prompts, list(map(settings, seeds)), use_tqdm=False, lora_request=request)
        completions = [output.outputs[0] for output in outputs]
        return [
            GeneratedText(
                token_texts(list(one.token_ids), tokenizer).text, len(one.token_ids), one.finish_reason == "stop"
            )
            for one in completions
        ]

    return engine


def _max_lora_rank(folder: str, adapter: Mapping[str, Any]) -> int:
    """
    Choose the smallest `max_lora_rank` of vLLM that the adapter fits in.

    Raises:
        BadInputError: If vLLM does not support the adapter.
    """
    kind = adapter.get("peft_type")
    parts = [name for name in ("use_dora", "modules_to_save") if adapter.get(name)]
    rank = max([int(adapter.get("r") or 0), *(adapter.get("rank_pattern") or {}).values()])
    if kind != "LORA":
        reason = f"its `peft_type` is {kind!r}"
    elif parts:
        reason = f"it has `{parts[0]}`"
    elif rank > VLLM_RANKS[-1]:
        reason = f"its rank is {rank}, above {VLLM_RANKS[-1]}"
    else:
        return min(allowed for allowed in VLLM_RANKS if allowed >= rank)
    raise BadInputError(
        f"The engine 'vllm' cannot apply the adapter {folder!r}: {reason}. Merge it into its base model "
        "(`merge_and_unload` of PEFT), or leave `--engine` out."
    )
