"""Generation of completions with transformers."""

from __future__ import annotations

import inspect
from collections.abc import Collection, Iterator, Sequence
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

from stepcoder_trl.evaluation.model_faults import told_without_numbers
from stepcoder_trl.parsing import find_closing_fence
from stepcoder_trl.steps.padding import pad_left, pad_right
from stepcoder_trl.steps.queries import Query
from stepcoder_trl.tokens import token_texts


@dataclass(frozen=True)
class SamplingConfig:
    """
    Sampling settings.

    Attributes:
        max_new_tokens (`int`): Maximum number of tokens per completion.
        temperature (`float`): Sampling temperature. 0 means greedy.
        top_p (`float`): Nucleus probability.
        stop_token_id (`int` or `None`): Token that ends a completion. `None` means no such token. If it is an EOS
            token, every EOS token ends a completion, see [`eos_token_ids`].
        stop_words (`tuple[str, ...]`): Texts that end a completion, such as `"\\ndef "` for a model that goes on after
            its program. They are no part of it.
    """

    max_new_tokens: int
    temperature: float = 1.0
    top_p: float = 1.0
    stop_token_id: int | None = None
    stop_words: tuple[str, ...] = ()


@dataclass(frozen=True)
class Generation:
    """
    Completions of `B` queries, as tokens.

    Attributes:
        query_ids (`torch.Tensor` of shape `(B, Q)`): Queries, padded on the left.
        query_mask (`torch.Tensor` of shape `(B, Q)`): `True` at query tokens, `False` at padding.
        response_ids (`torch.Tensor` of shape `(B, T)`): Sampled tokens, padded on the right.
        lengths (`torch.Tensor` of shape `(B,)`): Number of tokens of each completion, including the stop token. At
            least 1.
        stopped (`torch.Tensor` of shape `(B,)`): Whether generation ended before the maximum number of tokens.
    """

    query_ids: torch.Tensor
    query_mask: torch.Tensor
    response_ids: torch.Tensor
    lengths: torch.Tensor
    stopped: torch.Tensor

    def completion_ids(self) -> list[list[int]]:
        """Return the sampled tokens of each completion, without padding."""
        rows = zip(self.response_ids.tolist(), self.lengths.tolist(), strict=True)
        return [ids[:length] for ids, length in rows]


def tokens_with_backtick(tokenizer: PreTrainedTokenizerBase) -> set[int]:
    """Return the tokens that may complete a closing fence."""
    return {index for token, index in tokenizer.get_vocab().items() if "`" in token}


def closing_fence_end(
    ids: Sequence[int], tokenizer: PreTrainedTokenizerBase, with_backtick: Collection[int]
) -> int | None:
    """Return the number of tokens up to the one that completes the closing fence. `None` while the fence is open."""
    for length, token_id in enumerate(ids, 1):
        if token_id in with_backtick and find_closing_fence(token_texts(ids[:length], tokenizer).text) is not None:
            return length
    return None


class ClosingFence(StoppingCriteria):
    """
    Stopping criterion for completions that begin inside a code fence: stop at the closing fence.

    Attributes:
        lengths (`list[int | None]`): Number of tokens of each row, including the token that completes the closing
            fence. `None` while the fence is open.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, query_length: int, inside_fence: Sequence[bool]) -> None:
        self.tokenizer = tokenizer
        self.query_length = query_length
        self.inside_fence = inside_fence
        self.lengths: list[int | None] = [None] * len(inside_fence)
        self._with_backtick = tokens_with_backtick(tokenizer)

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
    Hide the generation settings of a model's checkpoint, which `generate` uses where its argument is silent.

    Settings such as a repetition penalty would change the samples but not the log-probabilities that PPO computes.
    """
    base = _without_adapter(model)
    kept, base.generation_config = base.generation_config, GenerationConfig()
    try:
        yield
    finally:
        base.generation_config = kept


def _without_adapter(model: torch.nn.Module) -> Any:
    from peft import PeftModel

    return model.get_base_model() if isinstance(model, PeftModel) else model


def pad_token_id(tokenizer: PreTrainedTokenizerBase) -> int:
    """Return the padding token, or else the EOS token. Only lengths distinguish padding from text."""
    for token_id in (tokenizer.pad_token_id, tokenizer.eos_token_id):
        if token_id is not None:
            return int(token_id)
    return 0


def eos_token_ids(model: torch.nn.Module, tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """Return the EOS tokens that the tokenizer and the model's generation settings name. Chat models have several."""
    named = _without_adapter(model).generation_config.eos_token_id
    by_model = named if isinstance(named, Sequence) else [named]
    ids = [token_id for token_id in (tokenizer.eos_token_id, *by_model) if token_id is not None]
    return list(dict.fromkeys(ids))


def stop_token_ids(sampling: SamplingConfig, eos: Sequence[int]) -> list[int]:
    """Return the tokens that end a completion."""
    if sampling.stop_token_id is None:
        return []
    return list(eos) if sampling.stop_token_id in eos else [sampling.stop_token_id]


def _generation_config(sampling: SamplingConfig, stops: list[int], pad: int) -> GenerationConfig:
    choice: dict[str, Any] = {"do_sample": False}
    if sampling.temperature > 0:
        choice = {"do_sample": True, "temperature": sampling.temperature, "top_p": sampling.top_p, "top_k": 0}
    return GenerationConfig(
        max_new_tokens=sampling.max_new_tokens,
        eos_token_id=stops or None,
        stop_strings=list(sampling.stop_words) or None,
        pad_token_id=pad,
        use_cache=True,
        **choice,
    )


def _unpadded(row: list[int], pad: int) -> list[int]:
    """Return a row without the padding at its end. One token is left."""
    end = len(row)
    while end > 1 and row[end - 1] == pad:
        end -= 1
    return row[:end]


def _ends(row: Sequence[int], fence_end: int | None, stops: Sequence[int]) -> tuple[int, bool]:
    """Return the length of a completion, and whether it ended before the maximum number of tokens."""
    ends = [] if fence_end is None else [fence_end]
    ends += [row.index(token_id) + 1 for token_id in stops if token_id in row]
    return (min(ends), True) if ends else (len(row), False)


def _padded(
    queries: Sequence[Query],
    completions: Sequence[Sequence[int]],
    stopped: Sequence[bool],
    pad: int,
    device: torch.device,
) -> Generation:
    """Pad queries and completions to tensors."""
    query_ids, query_mask = pad_left([query.token_ids for query in queries], pad, device)
    return Generation(
        query_ids=query_ids,
        query_mask=query_mask,
        response_ids=pad_right(completions, pad, device),
        lengths=torch.tensor([len(row) for row in completions], device=device),
        stopped=torch.tensor(stopped, device=device),
    )


def end_completions(
    queries: Sequence[Query],
    sampled: Sequence[Sequence[int]],
    tokenizer: PreTrainedTokenizerBase,
    stops: Sequence[int],
    device: torch.device,
) -> Generation:
    """
    Cut completions of another engine where [`generate`] ends them: at a stop token, inside a fence at the closing one.

    Args:
        queries (`Sequence[Query]`): Queries.
        sampled (`Sequence[Sequence[int]]`): Sampled tokens of each query, at least one.
        tokenizer ([`~transformers.PreTrainedTokenizerBase`]): Tokenizer of the model.
        stops (`Sequence[int]`): Tokens that end a completion.
        device (`torch.device`): Device of the result.
    """
    with_backtick = tokens_with_backtick(tokenizer)
    completions, stopped = [], []
    for query, ids in zip(queries, sampled, strict=True):
        fence_end = closing_fence_end(ids, tokenizer, with_backtick) if query.opened_fence else None
        length, ended = _ends(list(ids), fence_end, stops)
        completions.append(list(ids[:length]))
        stopped.append(ended)
    return _padded(queries, completions, stopped, pad_token_id(tokenizer), device)


# transformers 5.24 renamed the argument with keys and values of a model.
_CACHE_ARGUMENTS = ("cache", "past_key_values")


def _shared_prompts(model: torch.nn.Module, ids: torch.Tensor, mask: torch.Tensor) -> dict[str, Any]:
    """
    Compute the keys and values of equal queries once. Return them as an argument of `model.generate`, which is empty
    if all queries differ, or if the model cannot continue from a cache of tensors.
    """
    unique, places = torch.unique(torch.cat([ids, mask], 1), dim=0, return_inverse=True)
    base = _without_adapter(model)
    parameters = inspect.signature(base.forward).parameters
    names = [name for name in _CACHE_ARGUMENTS if name in parameters]
    if len(unique) == len(ids) or ids.shape[1] < 2 or not names or "position_ids" not in parameters:
        return {}
    if not base._supports_default_dynamic_cache():  # e.g. state-space models
        return {}
    columns = ids.shape[1]
    unique_ids, unique_mask = unique[:, : columns - 1], unique[:, columns : 2 * columns - 1]
    cache = DynamicCache(config=base.config.get_text_config(decoder=True))
    # The state of recurrent layers, which hybrid models have, cannot be copied per query.
    if not {type(layer) for layer in cache.layers} <= {DynamicLayer, DynamicSlidingWindowLayer}:
        return {}
    model(
        input_ids=unique_ids,
        attention_mask=unique_mask,
        position_ids=(unique_mask.cumsum(1) - 1).clamp(min=0),
        use_cache=True,
        **{names[0]: cache},
        **({"logits_to_keep": 1} if "logits_to_keep" in parameters else {}),
    )
    cache.batch_select_indices(places)
    return {names[0]: cache}


def _chunks(queries: Sequence[Query], size: int) -> Iterator[list[int]]:
    """Yield positions of the queries, `size` at a time. Several chunks are sorted by query length."""
    order = list(range(len(queries)))
    if len(order) > size:  # a single chunk is padded to its longest query in any order
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
    Sample one completion per query.

    A completion ends with a stop token, inside a fence with the closing fence, or after `max_new_tokens`. If there
    are more queries than `batch_size`, they are sorted by length, so that less padding is needed.

    Args:
        model ([`~transformers.PreTrainedModel`]):
            Causal language model, in evaluation mode.
        queries (`Sequence[Query]`):
            Queries, at least one.
        tokenizer ([`~transformers.PreTrainedTokenizerBase`]):
            Tokenizer of the model.
        sampling ([`SamplingConfig`]):
            Sampling settings.
        batch_size (`int`, *optional*, defaults to `64`):
            Number of queries per call of the model.
        share_prompts (`bool`, *optional*, defaults to `True`):
            Whether the model reads equal queries only once. Must be `False` if the weights are sharded over processes
            with different queries: then all processes must call the model equally often.

    Returns:
        [`Generation`]
    """
    pad = pad_token_id(tokenizer)
    stops = stop_token_ids(sampling, eos_token_ids(model, tokenizer))
    config = _generation_config(sampling, stops, pad)
    completions: list[list[int]] = [[]] * len(queries)
    stopped = [False] * len(queries)
    with neutral_generation_config(model), told_without_numbers():
        for places in _chunks(queries, batch_size):
            chunk = [queries[place] for place in places]
            ids, mask = pad_left([query.token_ids for query in chunk], pad, model.device)
            fences = ClosingFence(tokenizer, ids.shape[1], [query.opened_fence for query in chunk])
            criteria = StoppingCriteriaList([fences] if any(fences.inside_fence) else [])
            sequences = model.generate(
                input_ids=ids,
                **({"tokenizer": tokenizer} if sampling.stop_words else {}),  # to find stop words
                attention_mask=mask.long(),
                generation_config=config,
                stopping_criteria=criteria,
                # With gathered weights, a process whose completions are finished need not wait for the others.
                synced_gpus=False if share_prompts else None,
                **(_shared_prompts(model, ids, mask.long()) if share_prompts else {}),
            )
            rows = sequences[:, ids.shape[1] :].tolist()
            for place, row, fence_end in zip(places, rows, fences.lengths, strict=True):
                if sampling.stop_words:  # a row that ended at one is padded while others go on
                    row = _unpadded(row, pad)
                length, stopped[place] = _ends(row, fence_end, stops)
                completions[place] = row[:length]
    return _padded(queries, completions, stopped, pad, model.device)
