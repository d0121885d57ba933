"""Engines that generate completions: a model in memory, a model or adapter in a folder, vLLM."""

from __future__ import annotations

import importlib
import json
import os
import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies

import huggingface_hub
import torch
from huggingface_hub import constants
from safetensors import SafetensorError

from stepcoder_trl.errors import BadInputError, StepCoderError
from stepcoder_trl.evaluation.generation import SamplingConfig, end_completions, eos_token_ids, generate
from stepcoder_trl.evaluation.sampling import Engine, GeneratedText
from stepcoder_trl.evaluation.tokenizers import no_tokenizer
from stepcoder_trl.steps.queries import FENCE, Query
from stepcoder_trl.tokens import token_texts


_PATIENCE_S = 5.0  # seconds to connect to the Hub
VLLM_RANKS = (8, 16, 32, 64, 128, 256)  # values of `max_lora_rank` that every release of vLLM accepts


@contextmanager
def loading(model: str) -> Iterator[None]:
    """
    Report a model that transformers cannot load in one line. The messages of its errors have many.

    A folder that is not there is reported at once, and so is a Hub that cannot be reached.
    """
    try:
        base = (_adapter_settings(model) or {}).get("base_model_name_or_path")
        for name in filter(None, (model, base)):
            _check_place(name)
        yield
    except StepCoderError:
        raise
    except ImportError as error:
        reason = " ".join(str(error).split()).rstrip(".")
        raise BadInputError(f"The model {model!r} cannot be loaded: {reason}. Install what is missing.") from error
    except (SafetensorError, RuntimeError) as error:
        reason = " ".join(str(error).split()).rstrip(".")
        if "ignore_mismatched_sizes" in reason:
            reason = "its weights do not fit its `config.json`"
        is_damaged = isinstance(error, SafetensorError) or "ignore_mismatched_sizes" in str(error)
        fix = " Save or download the model again." if is_damaged else ""
        raise BadInputError(f"The model {model!r} cannot be loaded: {reason}.{fix}") from error
    except (OSError, ValueError) as error:  # ValueError: a folder without a tokenizer, or an unknown architecture
        reason = no_tokenizer(error) or str(error).partition("\n")[0].rstrip(" :.")
        raise BadInputError(f"The model {model!r} cannot be loaded: {reason}. Check the path.") from error


def _check_place(model: str) -> None:
    """Raise a `BadInputError` for a folder that is not there, and for a name if the Hub cannot be reached."""
    if os.path.isdir(model):
        if not any(Path(model, name).is_file() for name in ("config.json", "adapter_config.json")):
            raise BadInputError(
                f"The model {model!r} cannot be loaded: the folder holds no `config.json`. Name a folder that "
                "`save_pretrained` wrote."
            )
        return
    if os.path.exists(model):
        raise BadInputError(f"The model {model!r} cannot be loaded: it is a file. Name its folder.")
    if _is_path(model):
        raise BadInputError(f"The model {model!r} cannot be loaded: there is no such folder. Check the path.")
    is_cached = isinstance(huggingface_hub.try_to_load_from_cache(model, "config.json"), str)
    if is_cached or constants.HF_HUB_OFFLINE or getproxies():  # behind a proxy only a request can tell
        return
    hub = urlsplit(constants.ENDPOINT)
    try:
        socket.create_connection(
            (hub.hostname, hub.port or (443 if hub.scheme == "https" else 80)), _PATIENCE_S
        ).close()
    except OSError as error:  # transformers would try again for a minute, twice
        raise BadInputError(
            f"The model {model!r} cannot be loaded: there is no such folder, and the Hub, {hub.hostname}, cannot be "
            f"reached ({error.strerror or error}). Check the path."
        ) from None


def _is_path(model: str) -> bool:
    """Return whether a text can only be a path: a name on the Hub is `owner/name`, or an old one without owner."""
    return model[:1] in (".", "/", "~") or "\\" in model or model.count("/") > 1


def tokenizer_source(model: str) -> str:
    """Return the folder or name of a model's tokenizer. An adapter saved without one has that of its base model."""
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
    Generate with a model in memory. It must be in evaluation mode when the engine is called.

    A tokenizer may have no EOS token. Then those of the model's generation settings end a completion.
    """
    eos = eos_token_ids(model, tokenizer)
    if tokenizer.eos_token_id is None and eos:
        sampling = replace(sampling, stop_token_id=eos[0])

    def engine(queries: Sequence[Query], seed: int | None) -> list[GeneratedText]:
        if seed is not None:
            torch.manual_seed(seed)
        generation = generate(model, queries, tokenizer, sampling, len(queries))
        rows = zip(generation.completion_ids(), generation.stopped.tolist(), strict=True)
        return [GeneratedText(token_texts(ids, tokenizer, eos).text, len(ids), stopped) for ids, stopped in rows]

    return engine


def transformers_engine(
    model: str, dtype: str, tokenizer: Any, sampling: SamplingConfig, device: torch.device
) -> Engine:
    """Generate with a model or PEFT adapter that transformers loads. The data type `"auto"` is the checkpoint's."""
    from transformers import AutoModelForCausalLM

    auto_class = AutoModelForCausalLM
    if _adapter_settings(model) is not None:
        from peft import AutoPeftModelForCausalLM

        auto_class = AutoPeftModelForCausalLM
    loaded = auto_class.from_pretrained(model, dtype="auto" if dtype == "auto" else getattr(torch, dtype))
    loaded.to(device).eval()
    return model_engine(loaded, tokenizer, sampling)


def vllm_engine(model: str, dtype: str, tokenizer: Any, sampling: SamplingConfig, seed: int) -> Engine:
    """Generate with vLLM, which applies a LoRA adapter to its base model. Each completion has a seed of its own."""
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

    def settings(query: Query, completion_seed: int | None) -> Any:
        return vllm.SamplingParams(
            max_tokens=sampling.max_new_tokens,
            temperature=sampling.temperature,
            top_p=sampling.top_p,
            stop_token_ids=[] if sampling.stop_token_id is None else [sampling.stop_token_id],
            stop=[*sampling.stop_words, *([f"\n{FENCE}"] if query.opened_fence else [])],
            seed=completion_seed,
        )

    def engine(queries: Sequence[Query], batch_seed: int | None) -> list[GeneratedText]:
        prompts = [{"prompt_token_ids": list(query.token_ids)} for query in queries]
        seeds = [None if batch_seed is None else batch_seed + number for number in range(len(queries))]
        outputs = loaded.generate(prompts, list(map(settings, queries, seeds)), use_tqdm=False, lora_request=request)
        sampled = [one.outputs[0] for one in outputs]
        ended = end_completions(queries, [one.token_ids for one in sampled], tokenizer, [], torch.device("cpu"))
        ends = [one.finish_reason == "stop" or cut for one, cut in zip(sampled, ended.stopped.tolist(), strict=True)]
        rows = zip(ended.completion_ids(), ends, strict=True)
        return [GeneratedText(token_texts(ids, tokenizer).text, len(ids), stopped) for ids, stopped in rows]

    return engine


def _max_lora_rank(folder: str, adapter: Mapping[str, Any]) -> int:
    """Return the smallest `max_lora_rank` that the adapter fits in, or raise an error if vLLM does not support it."""
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
