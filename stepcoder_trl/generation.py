"""Queries and completions: what the model is shown, how it is sampled, and where a completion ends."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping, Sequence
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

from stepcoder_trl.errors import BadInputError
from stepcoder_trl.parsing import extract_program, find_closing_fence
from stepcoder_trl.tokens import token_texts
from stepcoder_trl.types import Program


Prompt = str | Sequence[Mapping[str, Any]]  # text, or chat messages

FENCE = "```"


@dataclass(frozen=True)
class Query:
    """
    What the model is shown.

    Attributes:
        text (`str`): Prompt and code, up to the last non-white-space character.
        prefix (`str`): Code that the program begins with, so stripped: starter code or the curriculum's prefix.
        token_ids (`tuple[int, ...]`): Tokens of `text`.
        opened_fence (`bool`): Whether the answer is inside a code fence.
    """

    text: str
    prefix: str
    token_ids: tuple[int, ...]
    opened_fence: bool = False


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


def query_text(prompt: Prompt, code: str, tokenizer: PreTrainedTokenizerBase) -> tuple[str, bool]:
    """
    Text of a query, and whether it opened a code fence.

    A plain prompt is followed by the code. Of a chat, the answer is opened: a fence, then the code.

    Args:
        prompt (`str` or `Sequence[Mapping]`):
            Requirement, as text or chat messages.
        code (`str`):
            Starter code or the curriculum's prefix, may be empty.
        tokenizer ([`~transformers.PreTrainedTokenizerBase`]):
            Its chat template renders messages.

    Returns:
        `tuple[str, bool]`: Text up to its last non-white-space character: the model writes the line end itself.
    """
    if isinstance(prompt, str):
        return (prompt + code).rstrip(), False
    opened = tokenizer.apply_chat_template(list(prompt), tokenize=False, add_generation_prompt=True)
    return f"{opened}{FENCE}python\n{code}".rstrip(), True


def build_query(prompt: Prompt, code: str, tokenizer: PreTrainedTokenizerBase) -> Query:
    """
    Build what the model is shown.

    Args:
        prompt (`str` or `Sequence[Mapping]`):
            Requirement, as text or chat messages.
        code (`str`):
            Starter code or the curriculum's prefix, may be empty.
        tokenizer ([`~transformers.PreTrainedTokenizerBase`]):
            Tokenizer of the model.

    Returns:
        [`Query`]

    Raises:
        BadInputError: If there is nothing to show, and the tokenizer has no BOS token to begin with.
    """
    text, opened_fence = query_text(prompt, code, tokenizer)
    # A chat template writes its special tokens itself.
    ids = tokenizer(text, add_special_tokens=not opened_fence)["input_ids"]
    if ids and ids[-1] == tokenizer.eos_token_id and not text.endswith(str(tokenizer.eos_token)):
        ids = ids[:-1]
    if not ids and tokenizer.bos_token_id is not None:
        ids = [tokenizer.bos_token_id]
    if not ids:
        raise BadInputError("The prompt is empty, and so is the starter code. Write a `prompt`.")
    return Query(text=text, prefix=code.rstrip(), token_ids=tuple(ids), opened_fence=opened_fence)


def program_of(query: Query, completion: str) -> Program:
    """Program that a completion makes of its query."""
    return extract_program(completion, query.prefix, opened_fence=query.opened_fence)


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


def pad_left(rows: Sequence[Sequence[int]], pad: int, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Token rows as a tensor `(B, Q)` padded on the left, and its mask, `True` where a token stands."""
    size = max(len(row) for row in rows)
    ids = [[pad] * (size - len(row)) + list(row) for row in rows]
    mask = [[False] * (size - len(row)) + [True] * len(row) for row in rows]
    return torch.tensor(ids, device=device), torch.tensor(mask, device=device)


def _pad_right(rows: Sequence[Sequence[int]], pad: int, device: torch.device) -> torch.Tensor:
    size = max(len(row) for row in rows)
    return torch.tensor([list(row) + [pad] * (size - len(row)) for row in rows], device=device)


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
        response_ids=_pad_right(completions, pad, model.device),
        lengths=torch.tensor([len(row) for row in completions], device=model.device),
        stopped=torch.tensor(stopped, device=model.device),
    )
