"""Sampling: from problems to requests, from a batch of requests to samples."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from stepcoder_trl.data.problems import Problem
from stepcoder_trl.steps.queries import Query, build_query, program_of


T = TypeVar("T")


@dataclass(frozen=True)
class GeneratedText:
    """Completion that an engine generated."""

    text: str
    num_tokens: int  # including the stop token
    stopped: bool  # whether generation ended before the maximum number of tokens


# Takes queries and a seed, and generates one completion per query. `None` continues with the current random state.
Engine = Callable[[Sequence[Query], int | None], Sequence[GeneratedText]]


@dataclass(frozen=True)
class Request:
    """Request for one sample."""

    task_id: str
    number: int  # among the samples of the problem, counted from 0
    query: Query
    tests: Mapping[str, Any] | None


@dataclass(frozen=True)
class Sample:
    """Completion of a problem whose program can be run."""

    task_id: str
    number: int  # distinguishes the samples of one problem
    completion: str
    program: str
    tests: Mapping[str, Any] | None  # a program without tests is not run
    num_tokens: int = 0  # of the completion, including the stop token; 0 if unknown
    stopped: bool = False  # whether generation ended before the maximum number of tokens


def build_requests(
    problems: Sequence[Problem],
    num_samples: int,
    tokenizer: Any,
    chat_template_kwargs: Mapping[str, Any] | None = None,
) -> list[Request]:
    """Request samples from scratch, in the order of the problems, requests of one problem together."""
    requests = []
    for problem in problems:
        prompt, code = problem.prompt, problem.starter_code
        query = build_query(prompt, code, tokenizer, chat_template_kwargs, task_id=problem.task_id)
        requests += [Request(problem.task_id, number, query, problem.parsed_tests) for number in range(num_samples)]
    return requests


def positions_warning(requests: Sequence[Request], max_new_tokens: int, positions: int | None) -> str | None:
    """Return a warning if the longest query and `max_new_tokens` exceed a model's `positions`, otherwise `None`."""
    if positions is None or not requests:
        return None
    longest = max(requests, key=lambda one: len(one.query.token_ids))
    length = len(longest.query.token_ids)
    if length + max_new_tokens <= positions:
        return None
    room = positions - length
    fix = f"Lower it to {room}" if room > 0 else "Leave the problem out"
    return (
        f"The query of problem {longest.task_id!r} has {length} tokens. With {max_new_tokens} new tokens that is more "
        f"than the {positions} positions of the model, beyond which its text is poor. {fix}."
    )


def ending_at(engine: Engine, stop_words: Sequence[str]) -> Engine:
    """Return an engine whose completions end before the first stop word."""

    def cut(one: GeneratedText) -> GeneratedText:
        ends = [place for place in map(one.text.find, stop_words) if place >= 0]
        return replace(one, text=one.text[: min(ends)], stopped=True) if ends else one

    return lambda queries, seed: [cut(one) for one in engine(queries, seed)]


def split_batches(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    """Split items into batches of `size`. The last batch may be smaller."""
    for start in range(0, len(items), size):
        yield items[start : start + size]


def draw_batch(requests: Sequence[Request], engine: Engine, seed: int | None = None) -> list[Sample]:
    """Draw one sample per request, in order. Without a seed the current random state continues."""
    generated = engine([request.query for request in requests], seed)
    return [
        Sample(
            task_id=request.task_id,
            number=request.number,
            completion=one.text,
            program=program_of(request.query, one.text).text,
            tests=request.tests,
            num_tokens=one.num_tokens,
            stopped=one.stopped,
        )
        for request, one in zip(requests, generated, strict=True)
    ]


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed PyTorch. Afterwards restore the random state of Python, NumPy and PyTorch, so that training continues."""
    import numpy as np
    import torch

    devices = range(torch.cuda.device_count()) if torch.cuda.is_available() else []
    python_state, numpy_state = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(devices):
        torch.manual_seed(seed)
        try:
            yield
        finally:
            random.setstate(python_state)
            np.random.set_state(numpy_state)
