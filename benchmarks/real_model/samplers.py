"""Samplers: vLLM where it is installed, transformers elsewhere. Both return the sampled tokens, which FGO needs."""

from __future__ import annotations

import importlib
import importlib.util
import os
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import torch
from transformers import AutoModelForCausalLM, GenerationConfig

from stepcoder_trl.evaluation.generation import (
    Generation,
    SamplingConfig,
    end_completions,
    eos_token_ids,
    generate,
    stop_token_ids,
)
from stepcoder_trl.steps.queries import FENCE, Query


# Takes queries and a seed, and samples one completion per query.
Sampler = Callable[[Sequence[Query], int], Generation]

LIKELIEST = 512  # tokens that are sorted first. They nearly always hold the nucleus
# One process, whose threads the operating system places. `setdefault`: the caller may know better.
VLLM_SETTINGS = {
    "VLLM_CPU_KVCACHE_SPACE": "2",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    "VLLM_LOGGING_LEVEL": "WARNING",
}


def load_sampler(
    folder: str, tokenizer: Any, sampling: SamplingConfig, batch_size: int, dtype: str, query_tokens: int
) -> tuple[Sampler, list[int]]:
    """
    Load a model to sample with, by vLLM if that is installed.

    Args:
        folder (`str`): Folder of the model.
        tokenizer (tokenizer): Its tokenizer.
        sampling ([`SamplingConfig`]): Settings.
        batch_size (`int`): Completions at a time.
        dtype (`str`): Data type of the weights.
        query_tokens (`int`): Most tokens of a query.

    Returns:
        `tuple`: The sampler, and the EOS tokens.
    """
    if importlib.util.find_spec("vllm") is not None:
        holder = SimpleNamespace(generation_config=GenerationConfig.from_pretrained(folder))
        eos = eos_token_ids(holder, tokenizer)
        return vllm_sampler(folder, eos, tokenizer, sampling, batch_size, dtype, query_tokens), eos
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=getattr(torch, dtype)).eval()
    return transformers_sampler(model, tokenizer, sampling, batch_size), eos_token_ids(model, tokenizer)


def transformers_sampler(model: torch.nn.Module, tokenizer: Any, sampling: SamplingConfig, batch_size: int) -> Sampler:
    """Sample with a model in memory."""

    def sample(queries: Sequence[Query], seed: int) -> Generation:
        torch.manual_seed(seed)
        return generate(model, queries, tokenizer, sampling, batch_size)

    return sample


def vllm_sampler(
    folder: str,
    eos: Sequence[int],
    tokenizer: Any,
    sampling: SamplingConfig,
    batch_size: int,
    dtype: str,
    query_tokens: int,
) -> Sampler:
    """
    Sample with vLLM, each completion with a seed of its own. `eos` are the EOS tokens, see [`load_sampler`].
    """
    for name, value in VLLM_SETTINGS.items():
        os.environ.setdefault(name, value)
    vllm = importlib.import_module("vllm")
    if not torch.cuda.is_available():
        _sort_fewer_tokens()
    # On a CPU compilation takes longer than it saves here.
    length = query_tokens + sampling.max_new_tokens
    engine = vllm.LLM(
        folder, dtype=dtype, max_model_len=length, max_num_seqs=batch_size, block_size=32, enforce_eager=True
    )
    stops = stop_token_ids(sampling, eos)

    def settings(query: Query, seed: int) -> Any:
        return vllm.SamplingParams(
            max_tokens=sampling.max_new_tokens,
            temperature=sampling.temperature,
            top_p=sampling.top_p,
            ignore_eos=True,
            stop_token_ids=stops,
            stop=[f"\n{FENCE}"] if query.opened_fence else [],
            seed=seed,
        )

    def sample(queries: Sequence[Query], seed: int) -> Generation:
        prompts = [{"prompt_token_ids": list(query.token_ids)} for query in queries]
        chosen = [settings(query, 1000 * seed + number) for number, query in enumerate(queries)]
        sampled = [list(one.outputs[0].token_ids) for one in engine.generate(prompts, chosen, use_tqdm=False)]
        return end_completions(queries, sampled, tokenizer, stops, torch.device("cpu"))

    return sample


def nucleus(logits: torch.Tensor, top_p: torch.Tensor) -> torch.Tensor:
    """
    Set the logits outside the nucleus to minus infinity: tokens before which others have `top_p` of the probability.

    Only the likeliest tokens are sorted, and all of them only in rows where these do not hold the nucleus.

    Args:
        logits (`torch.Tensor` of shape `(B, V)`): Logits, divided by the temperature.
        top_p (`torch.Tensor` of shape `(B,)`): Nucleus probabilities.
    """
    size = min(LIKELIEST, logits.shape[-1])
    total = logits.logsumexp(-1, keepdim=True)
    found = logits.topk(size).values
    if bool(((found - total).exp().sum(-1) < top_p).any()):
        found = logits.sort(descending=True).values
    before = (found - total).exp().cumsum(-1).roll(1, -1)
    before[:, 0] = 0.0
    last = (before < top_p[:, None]).sum(-1, keepdim=True) - 1
    return logits.masked_fill(logits < found.gather(-1, last), -torch.inf)


def _sort_fewer_tokens() -> None:
    """Replace the nucleus of vLLM, which sorts the vocabulary: on a CPU that takes as long as the model."""
    ops = importlib.import_module("vllm.v1.sample.ops.topk_topp_sampler")
    original = ops.apply_top_k_top_p

    def apply(logits: torch.Tensor, top_k: torch.Tensor | None, top_p: torch.Tensor | None) -> torch.Tensor:
        if top_p is None or top_k is not None:
            found: torch.Tensor = original(logits, top_k, top_p)
            return found
        return nucleus(logits, top_p)

    ops.apply_top_k_top_p = apply
