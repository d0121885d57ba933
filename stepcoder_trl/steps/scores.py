"""Scores: calling reward functions, checking what they return, and summing by weight."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from stepcoder_trl.errors import BadInputError
from stepcoder_trl.steps.starts import Completion
from stepcoder_trl.types import Execution


RewardFunc = Callable[..., Sequence[float | None]]


def reward_name(func: Any) -> str:
    """Name of a reward function in metrics and errors."""
    return str(func.__name__ if inspect.isroutine(func) else type(func).__name__)


def reward_columns(completions: Sequence[Completion], executions: Sequence[Execution | None]) -> dict[str, list[Any]]:
    """
    Keyword arguments of a reward function.

    Args:
        completions (`Sequence[Completion]`):
            Completions.
        executions (`Sequence[Execution | None]`):
            Their results.

    Returns:
        `dict[str, list[Any]]`: Every column of the dataset; `prompts`, `completions`, `completion_ids`, `task_id`,
        `prefix`, `program` and `execution`. Each has one entry per completion.
    """
    starts = [completion.start for completion in completions]
    rows = [start.row for start in starts]
    names = list(dict.fromkeys(name for row in rows for name in row.columns))
    return {
        **{name: [row.columns.get(name) for row in rows] for name in names},
        "prompts": [start.query.text if start.row.token_ids is not None else start.row.prompt for start in starts],
        "completions": [completion.text for completion in completions],
        "completion_ids": [list(completion.token_ids) for completion in completions],
        "task_id": [row.task_id for row in rows],
        "prefix": [start.query.prefix for start in starts],
        "program": [completion.program.text for completion in completions],
        "execution": list(executions),
    }


def call_reward(func: RewardFunc, columns: Mapping[str, Any]) -> tuple[float | None, ...]:
    """
    Call a reward function and check what it returns.

    Raises:
        BadInputError: If it does not return one value per completion, or an infinite one.
    """
    values = list(func(**columns))
    if len(values) != len(columns["completions"]):
        raise BadInputError(
            f"The reward function `{reward_name(func)}` returned {len(values)} values for "
            f"{len(columns['completions'])} completions. Return one per completion, `None` for one without a score."
        )
    return checked_scores(reward_name(func), values)


def checked_scores(name: str, values: Sequence[float | None]) -> tuple[float | None, ...]:
    """
    Scores as they enter the sum: NaN is no score, as in TRL's other trainers.

    Args:
        name (`str`):
            Reward function, for the error.
        values (`Sequence[float | None]`):
            What it returned.

    Returns:
        `tuple[float | None, ...]`

    Raises:
        BadInputError: If a score is infinite.
    """
    scores = [math.nan if value is None else float(value) for value in values]
    for number, score in enumerate(scores):
        if math.isinf(score):
            raise BadInputError(
                f"`{name}` gave {score} for completion {number}, but a score must be finite. Return `None` for a "
                "completion without a score."
            )
    return tuple(None if math.isnan(score) else score for score in scores)


def combine_scores(by_source: Mapping[str, Sequence[float | None]], weights: Sequence[float]) -> list[float | None]:
    """
    Weighted sum of each completion's scores; sources without a score for it are left out.

    Args:
        by_source (`Mapping[str, Sequence[float | None]]`):
            Scores, one sequence per source.
        weights (`Sequence[float]`):
            Weight of each source, in the same order.

    Returns:
        `list[float | None]`: `None` where no source has a score.
    """
    combined: list[float | None] = []
    for values in zip(*by_source.values(), strict=True):
        parts = [weight * value for weight, value in zip(weights, values, strict=True) if value is not None]
        combined.append(sum(parts) if parts else None)
    return combined
