"""Engines that generate completions: a model in memory, a model or adapter in a folder, vLLM."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError

from stepcoder_trl.errors import BadInputError, StepCoderError
from stepcoder_trl.evaluation.generation import SamplingConfig, end_completions, eos_token_ids, generate
from stepcoder_trl.evaluation.model_faults import check_vocabulary
from stepcoder_trl.evaluation.places import adapter_settings, check_place
from stepcoder_trl.evaluation.sampling import Engine, GeneratedText
from stepcoder_trl.evaluation.tokenizers import no_tokenizer
from stepcoder_trl.steps.queries import FENCE, Query
from stepcoder_trl.tokens import token_texts


VLLM_RANKS = (8, 16, 32, 64, 128, 256)  # values of `max_lora_rank` that every release of vLLM accepts


@contextmanager
def loading(model: str) -> Iterator[None]:
    """
    Report a model that transformers cannot load in one line. The messages of its errors have many.

    A folder that is not there is reported at once, and so is a Hub that cannot be reached.
    """
    try:
        base = (adapter_settings(model) or {}).get("base_model_name_or_path")
        for name in filter(None, (model, base)):
            check_place(name)
        yield
    except StepCoderError:
        raise
    except ImportError as error:
        reason = " ".join(str(error).split()).rstrip(".")
        raise BadInputError(f"The model {model!r} cannot be loaded: {reason}. Install what is missing.") from error
    except (SafetensorError, RuntimeError) as error:
        if isinstance(error, torch.OutOfMemoryError) or "DefaultCPUAllocator" in str(error):
            raise  # nothing is wrong with the input
        reason = " ".join(str(error).split()).rstrip(".")
        is_mismatched = "ignore_mismatched_sizes" in reason
        if is_mismatched:
            reason = "its weights do not fit its `config.json`"
        fix = " Save or download the model again." if is_mismatched or isinstance(error, SafetensorError) else ""
        raise BadInputError(f"The model {model!r} cannot be loaded: {reason}.{fix}") from error
    except (OSError, ValueError) as error:  # ValueError: a folder without a tokenizer, or an unknown architecture
        reason = no_tokenizer(error) or str(error).partition("\n")[0].rstrip(" :.")
        if reason.startswith("Unrecognized configuration class"):
            raise BadInputError(f"The model {model!r} is no causal language model. Choose another one.") from error
        raise BadInputError(f"The model {model!r} cannot be loaded: {reason}. Check the path.") from error


def model_engine(model: torch.nn.Module, tokenizer: Any, sampling: SamplingConfig) -> Engine:
    """
    Generate with a model in memory. It must be in evaluation mode when the engine is called.

    A tokenizer may have no EOS token. Then those of the model's generation settings end a completion.
    """
    eos = eos_token_ids(model, tokenizer)
    if tokenizer.eos_token_id is None and eos:
        sampling = replace(sampling, stop_token_id=eos[0])

    def engine(queries: Sequence[Query], seed: int | None) -> list[GeneratedText]:
        check_vocabulary(model, tokenizer, [query.token_ids for query in queries])
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
    if adapter_settings(model) is not None:
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
    adapter = adapter_settings(model)
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
