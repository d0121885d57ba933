"""Generation: how completions are sampled, and where one ends."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from transformers import (
    DynamicCache,
    GenerationConfig,
    PreTrainedTokenizerBase,
    StoppingCriteria,
    StoppingCriteriaList,
)
from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer

from stepcoder_trl.parsing import find_closing_fence
from stepcoder_trl.steps.padding import pad_left, pad_right
from stepcoder_trl.steps.queries import Query
from stepcoder_trl.tokens import token_texts


@dataclass(frozen=True)
class SamplingConfig:
    """
    How completions are drawn.

    Attributes:
        max_new_tokens (`int`): Most tokens of a completion.
        temperature (`float`): Sampling temperature; 0 takes the likeliest token.
        top_p (`float`): Probability mass of the likeliest tokens that are sampled from.
        stop_token_id (`int` or `None`): Token that ends a completion; `None` samples on to the end.
    """

    max_new_tokens: int
    temperature: float = 1.0
    top_p: float = 1.0
    stop_token_id: int | None = None


@dataclass(frozen=True)
class Generation:
    """
    Completions of `B` queries, as tokens.

    Attributes:
        query_ids (`torch.Tensor` of shape `(B, Q)`): Queries, padded on the left.
        query_mask (`torch.Tensor` of shape `(B, Q)`): `True` where a query token stands.
        response_ids (`torch.Tensor` of shape `(B, T)`): Sampled tokens, padded on the right.
        lengths (`torch.Tensor` of shape `(B,)`): Tokens of each completion, its stop token included, at least 1.
        stopped (`torch.Tensor` of shape `(B,)`): Whether it came to an end by itself.
    """

    query_ids: torch.Tensor
    query_mask: torch.Tensor
    response_ids: torch.Tensor
    lengths: torch.Tensor
    stopped: torch.Tensor

    def completion_ids(self) -> list[list[int]]:
        """Sampled tokens of each completion, without padding."""
        rows = zip(self.response_ids.tolist(), self.lengths.tolist(), strict=True)
        return [ids[:length] for ids, length in rows]


class ClosingFence(StoppingCriteria):
    """
    Ends a completion that was begun inside a code fence with the token that completes the closing fence.

    Attributes:
        lengths (`list[int | None]`): Tokens up to and with that token, per row; `None` while the fence is open.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, query_length: int, inside_fence: Sequence[bool]) -> None:
        self.tokenizer = tokenizer
        self.query_length = query_length
        self.inside_fence = inside_fence
        self.lengths: list[int | None] = [None] * len(inside_fence)
        self._with_backtick = {index for token, index in tokenizer.get_vocab().items() if "`" in token}

    def __call__(self, input_ids: torch.Tensor, scores: Any, **kwargs: Any) -> torch.Tensor:
        for row, last in enumerate(input_ids[:, -1].tolist()):
            if self.lengths[row] is None and self.inside_fence[row] and last in self._with_backtick:
                sampled = input_ids[row, self.query_length :].tolist()
                if find_closing_fence(token_texts(sampled, self.tokenizer).text) is not None:
                    self.lengths[row] = len(sampled)
        return torch.tensor([length is not None for length in self.lengths], device=input_ids.device)


@contextmanager
def neutral_generation_config(model: torch.nn.Module) -> Iterator[None]:
    """
    Hide a model's own generation settings: `generate` takes from them whatever its argument leaves open.

    The settings that a checkpoint brings, a repetition penalty for instance, would change what is sampled but not the
    log-probabilities that PPO computes.
    """
    base = model.get_base_model() if _is_peft(model) else model
    kept, base.generation_config = base.generation_config, GenerationConfig()
    try:
        yield
    finally:
        base.generation_config = kept


def _is_peft(model: torch.nn.Module) -> bool:
    from peft import PeftModel

    return isinstance(model, PeftModel)


def pad_token_id(tokenizer: PreTrainedTokenizerBase) -> int:
    """Padding token, else the EOS token: lengths, never token ids, tell padding from text."""
    for token_id in (tokenizer.pad_token_id, tokenizer.eos_token_id):
        if token_id is not None:
            return int(token_id)
    return 0


def _generation_config(sampling: SamplingConfig, pad: int) -> GenerationConfig:
    choice: dict[str, Any] = {"do_sample": False}
    if sampling.temperature > 0:
        choice = {"do_sample": True, "temperature": sampling.temperature, "top_p": sampling.top_p, "top_k": 0}
    return GenerationConfig(
        max_new_tokens=sampling.max_new_tokens,
        eos_token_id=sampling.stop_token_id,
        pad_token_id=pad,
        use_cache=True,
        **choice,
    )


def _ends(row: Sequence[int], fence_end: int | None, stop_token_id: int | None) -> tuple[int, bool]:
    """Length of a completion, and whether it came to an end by itself."""
    ends = [] if fence_end is None else [fence_end]
    if stop_token_id is not None and stop_token_id in row:
        ends.append(row.index(stop_token_id) + 1)
    return (min(ends), True) if ends else (len(row), False)


def _shared_prompts(model: torch.nn.Module, ids: torch.Tensor, mask: torch.Tensor) -> dict[str, Any]:
    """
    Argument for `model.generate` that spares it to read equal queries again: their keys and values, read once.

    Empty where nothing is to gain: all queries differ, or the model cannot continue from a cache of tensors.
    """
    unique, places = torch.unique(torch.cat([ids, mask], 1), dim=0, return_inverse=True)
    base = model.get_base_model() if _is_peft(model) else model
    parameters = inspect.signature(base.forward).parameters
    if len(unique) == len(ids) or ids.shape[1] < 2 or not {"past_key_values", "position_ids"} <= parameters.keys():
        return {}
    if not base._supports_default_dynamic_cache():  # e.g. state-space models
        return {}
    columns = ids.shape[1]
    unique_ids, unique_mask = unique[:, : columns - 1], unique[:, columns : 2 * columns - 1]
    cache = DynamicCache(config=base.config.get_text_config(decoder=True))
    # The state of recurrent layers, which hybrid models mix in, cannot be handed out per query.
    if not {type(layer) for layer in cache.layers} <= {DynamicLayer, DynamicSlidingWindowLayer}:
        return {}
    model(
        input_ids=unique_ids,
        attention_mask=unique_mask,
        position_ids=(unique_mask.cumsum(1) - 1).clamp(min=0),
        past_key_values=cache,
        use_cache=True,
        **({"logits_to_keep": 1} if "logits_to_keep" in parameters else {}),
    )
    cache.batch_select_indices(places)
    return {"past_key_values": cache}


def _chunks(queries: Sequence[Query], size: int) -> Iterator[list[int]]:
    """Places of the queries, `size` at a time; with several chunks queries of like length go together."""
    order = list(range(len(queries)))
    if len(order) > size:  # one chunk is padded to its longest query anyway
        order.sort(key=lambda place: len(queries[place].token_ids))
    for start in range(0, len(order), size):
        yield order[start : start + size]


@torch.no_grad()
def generate(
    model: torch.nn.Module,
    queries: Sequence[Query],
    tokenizer: PreTrainedTokenizerBase,
    sampling: SamplingConfig,
    batch_size: int = 64,
    *,
    share_prompts: bool = True,
) -> Generation:
    """
    Draw one completion per query.

    A completion ends with the stop token, inside a fence with the closing fence, or after `max_new_tokens`. More
    queries than `batch_size` are drawn shortest first, so that those of like length are padded together.

    Args:
        model ([`~transformers.PreTrainedModel`]):
            Causal language model, in evaluation mode.
        queries (`Sequence[Query]`):
            Queries, at least one.
        tokenizer ([`~transformers.PreTrainedTokenizerBase`]):
            Tokenizer of the model.
        sampling ([`SamplingConfig`]):
            How to draw.
        batch_size (`int`, *optional*, defaults to `64`):
            Queries per call of the model.
        share_prompts (`bool`, *optional*, defaults to `True`):
            Whether the model reads a query that comes several times only once. Not for a model whose weights are
            spread over processes that draw for different queries: all must call it equally often, and are kept in
            step then.

    Returns:
        [`Generation`]
    """
    pad = pad_token_id(tokenizer)
    config = _generation_config(sampling, pad)
    completions: list[list[int]] = [[]] * len(queries)
    stopped = [False] * len(queries)
    with neutral_generation_config(model):
        for places in _chunks(queries, batch_size):
            chunk = [queries[place] for place in places]
            ids, mask = pad_left([query.token_ids for query in chunk], pad, model.device)
            fences = ClosingFence(tokenizer, ids.shape[1], [query.opened_fence for query in chunk])
            criteria = StoppingCriteriaList([fences] if any(fences.inside_fence) else [])
            sequences = model.generate(
                input_ids=ids,
                attention_mask=mask.long(),
                generation_config=config,
                stopping_criteria=criteria,
                # Weights that are whole need nobody else: a process whose completions are short is done.
                synced_gpus=False if share_prompts else None,
                **(_shared_prompts(model, ids, mask.long()) if share_prompts else {}),
            )
            rows = sequences[:, ids.shape[1] :].tolist()
            for place, row, fence_end in zip(places, rows, fences.lengths, strict=True):
                length, stopped[place] = _ends(row, fence_end, sampling.stop_token_id)
                completions[place] = row[:length]
    query_ids, query_mask = pad_left([query.token_ids for query in queries], pad, model.device)
    return Generation(
        query_ids=query_ids,
        query_mask=query_mask,
        response_ids=pad_right(completions, pad, model.device),
        lengths=torch.tensor([len(row) for row in completions], device=model.device),
        stopped=torch.tensor(stopped, device=model.device),
    )
