"""Engines: what draws completions for queries, with the model and its tokenizer loaded from a folder."""

from __future__ import annotations

import hashlib
import importlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch

from stepcoder_trl.errors import BadInputError
from stepcoder_trl.evaluation.generation import SamplingConfig, generate
from stepcoder_trl.evaluation.process_group import leave_gloo_at_exit
from stepcoder_trl.steps.queries import Query
from stepcoder_trl.tokens import token_texts


_WEIGHTS = (".safetensors", ".bin", ".gguf")
Engine = Callable[[Sequence[Query], int], Sequence[str]]  # queries and a seed -> completions


@dataclass(frozen=True)
class SamplingPlan:
    """
    What is drawn for a set of problems. A run can be resumed as long as it is the same.

    Attributes:
        model (`str`): Folder or name of the model.
        num_samples (`int`): Completions per problem.
        batch_size (`int`): Completions drawn together.
        max_new_tokens (`int`): Most tokens of a completion.
        temperature (`float`): Sampling temperature; 0 takes the likeliest token.
        top_p (`float`): Probability mass of the likeliest tokens that are sampled from.
        prompt_style (`str`): Form of the prompts.
        dtype (`str`): Numbers that the model computes with.
        engine (`str`): What draws: `"transformers"` or `"vllm"`.
        seed (`int`): Seed.
        weights (`str`): What tells the model's files from others in the same folder, see [`weights_mark`].
    """

    model: str
    num_samples: int = 1
    batch_size: int = 16
    max_new_tokens: int = 1024
    temperature: float = 0.2
    top_p: float = 0.95
    prompt_style: str = "plain"
    dtype: str = "auto"
    engine: str = "transformers"
    seed: int = 0
    weights: str = ""

    def sampling(self, stop_token_id: int | None) -> SamplingConfig:
        """How completions are drawn."""
        return SamplingConfig(self.max_new_tokens, self.temperature, self.top_p, stop_token_id)


def weights_mark(model: str) -> str:
    """
    What tells a model's files from others that stood in the same folder: a digest of their names, sizes and times.

    Args:
        model (`str`):
            Folder or name of a model.

    Returns:
        `str`: Empty for a name on the Hub.
    """
    files = sorted(path for path in Path(model).glob("*") if path.suffix in _WEIGHTS)
    marks = [(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in files]
    return hashlib.sha256(repr(marks).encode()).hexdigest()[:16] if marks else ""


def process_state() -> Any:
    """
    This process among those that a launcher started, with the device it draws on.

    Raises:
        BadInputError: If the launcher started several, but each would work for itself.
    """
    from accelerate import PartialState
    from accelerate.utils import get_int_from_env, parse_flag_from_env

    # Told so, processes on the CPU find each other. One may wait for the others as long as drawing takes.
    on_cpu = parse_flag_from_env("ACCELERATE_USE_CPU") or not torch.accelerator.is_available()
    state = PartialState(cpu=on_cpu, timeout=timedelta(days=7))
    started = get_int_from_env(["WORLD_SIZE"], 1)
    if state.num_processes != started:
        raise BadInputError(
            f"{started} processes were started, but accelerate sees {state.num_processes}: each would draw for "
            "itself. Start them with `accelerate launch --config_file`."
        )
    leave_gloo_at_exit()
    return state


@contextmanager
def loading(model: str) -> Iterator[None]:
    """
    Around what loads a model or its tokenizer.

    Raises:
        BadInputError: If there is no such model; transformers raises an `OSError` of many lines.
    """
    try:
        yield
    except OSError as error:
        reason = str(error).partition("\n")[0]
        raise BadInputError(f"The model {model!r} cannot be loaded: {reason} Check the path.") from error


def tokenizer_of(model: str) -> str:
    """Where a model's tokenizer is: with it, or, for a PEFT adapter that was saved without one, with its base."""
    settings = _adapter_settings(model)
    if settings is None or Path(model, "tokenizer_config.json").is_file():
        return model
    return str(settings["base_model_name_or_path"])


def _adapter_settings(model: str) -> dict[str, Any] | None:
    """Settings of a PEFT adapter; `None` for the folder, or the name, of a whole model."""
    path = Path(model, "adapter_config.json")
    if not path.is_file():
        return None
    settings: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return settings


def transformers_engine(plan: SamplingPlan, tokenizer: Any, device: torch.device) -> Engine:
    """Engine on `transformers`; `plan.model` may be the folder of a PEFT adapter."""
    from transformers import AutoModelForCausalLM

    dtype = "auto" if plan.dtype == "auto" else getattr(torch, plan.dtype)
    if _adapter_settings(plan.model) is not None:
        from peft import AutoPeftModelForCausalLM

        model = AutoPeftModelForCausalLM.from_pretrained(plan.model, dtype=dtype)
    else:
        model = AutoModelForCausalLM.from_pretrained(plan.model, dtype=dtype)
    model.to(device).eval()

    def draw(queries: Sequence[Query], seed: int) -> list[str]:
        torch.manual_seed(seed)
        made = generate(model, queries, tokenizer, plan.sampling(tokenizer.eos_token_id), len(queries))
        return [token_texts(ids, tokenizer).text for ids in made.completion_ids()]

    return draw


def vllm_engine(plan: SamplingPlan, tokenizer: Any) -> Engine:
    """
    Engine on vLLM; `plan.model` may be the folder of a LoRA adapter, which vLLM applies to its base model.

    Raises:
        BadInputError: If vLLM is not installed, or the adapter is none that it can apply.
    """
    try:
        vllm = importlib.import_module("vllm")
        lora = importlib.import_module("vllm.lora.request")
    except ImportError:
        raise BadInputError(
            "The engine 'vllm' needs vLLM. Run `pip install stepcoder-trl[vllm]`, or leave `--engine` out."
        ) from None
    adapter = _adapter_settings(plan.model)
    if adapter is None:
        model, request = vllm.LLM(model=plan.model, dtype=plan.dtype, seed=plan.seed), None
    else:
        base, rank = str(adapter["base_model_name_or_path"]), _vllm_rank(plan.model, adapter)
        model = vllm.LLM(model=base, dtype=plan.dtype, seed=plan.seed, enable_lora=True, max_lora_rank=rank)
        request = lora.LoRARequest("policy", 1, str(Path(plan.model).absolute()))

    def draw(queries: Sequence[Query], seed: int) -> list[str]:
        settings = [
            vllm.SamplingParams(
                max_tokens=plan.max_new_tokens,
                temperature=plan.temperature,
                top_p=plan.top_p,
                stop_token_ids=[] if tokenizer.eos_token_id is None else [tokenizer.eos_token_id],
                seed=seed + number,
            )
            for number in range(len(queries))
        ]
        prompts = [{"prompt_token_ids": list(query.token_ids)} for query in queries]
        outputs = model.generate(prompts, settings, use_tqdm=False, lora_request=request)
        return [token_texts(list(output.outputs[0].token_ids), tokenizer).text for output in outputs]

    return draw


_VLLM_RANKS = (8, 16, 32, 64, 128, 256)  # what `max_lora_rank` may be in all its releases


def _vllm_rank(folder: str, adapter: Mapping[str, Any]) -> int:
    """Smallest `max_lora_rank` that holds an adapter; refuses what vLLM does not apply."""
    kind = adapter.get("peft_type")
    parts = [name for name in ("use_dora", "modules_to_save") if adapter.get(name)]
    rank = max([int(adapter.get("r") or 0), *(adapter.get("rank_pattern") or {}).values()])
    if kind != "LORA":
        reason = f"its `peft_type` is {kind!r}"
    elif parts:
        reason = f"it has `{parts[0]}`"
    elif rank > _VLLM_RANKS[-1]:
        reason = f"its rank is {rank}, above {_VLLM_RANKS[-1]}"
    else:
        return min(allowed for allowed in _VLLM_RANKS if allowed >= rank)
    raise BadInputError(
        f"The engine 'vllm' cannot apply the adapter {folder!r}: {reason}. Merge it into its base model "
        "(`merge_and_unload` of PEFT), or leave `--engine` out."
    )
