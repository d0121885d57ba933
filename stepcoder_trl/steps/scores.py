"""Scores of completions: calls of the reward functions, checks, and the weighted sum."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from stepcoder_trl.errors import BadInputError
from stepcoder_trl.rewards import unit_test_reward
from stepcoder_trl.steps.rows import PromptRow
from stepcoder_trl.steps.starts import Completion
from stepcoder_trl.types import Execution


RewardFunc = Callable[..., Sequence[float | None]]


def reward_name(func: Any) -> str:
    """Return the name of a reward function in metrics and errors."""
    return str(func.__name__ if inspect.isroutine(func) else type(func).__name__)


def reward_columns(completions: Sequence[Completion], executions: Sequence[Execution | None]) -> dict[str, list[Any]]:
    """Return the keyword arguments of reward functions: lists with one entry per completion."""
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
    """Call a reward function. Raises a `BadInputError` if it does not return one finite value per completion."""
    values = list(func(**columns))
    if len(values) != len(columns["completions"]):
        raise BadInputError(
            f"The reward function `{reward_name(func)}` returned {len(values)} values for "
            f"{len(columns['completions'])} completions. Return one per completion, `None` for one without a score."
        )
    return checked_scores(reward_name(func), values)


def checked_scores(name: str, values: Sequence[float | None]) -> tuple[float | None, ...]:
    """Return the scores of reward function `name`, with `None` for NaN, as in TRL. Refuses infinite scores."""
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
    Compute the weighted sum of each completion's scores, without sources that gave none.

    The weights are in the order of the sources. `None` if no source gave a score.
    """
    combined: list[float | None] = []
    for values in zip(*by_source.values(), strict=True):
        parts = [weight * value for weight, value in zip(weights, values, strict=True) if value is not None]
        combined.append(sum(parts) if parts else None)
    return combined


def choose_rewards(
    rows: Sequence[PromptRow],
    reward_funcs: RewardFunc | Sequence[RewardFunc] | None,
    reward_weights: Sequence[float] | None,
    with_reward_model: bool,
) -> tuple[list[RewardFunc], list[float]]:
    """
    Return the reward functions of a run, and the weight of each and of the reward model, which is last.

    By default, tests give compiler feedback, and each weight is 1.

    Raises:
        BadInputError: If a row could not be scored, or the number of weights is wrong.
    """
    with_tests = sum(row.tests is not None for row in rows)
    if reward_funcs is None:
        funcs: list[RewardFunc] = [unit_test_reward] if with_tests else []
    else:
        funcs = [reward_funcs] if callable(reward_funcs) else list(reward_funcs)
    if not funcs and reward_funcs is not None and not with_reward_model:
        raise BadInputError("`reward_funcs` is empty. Leave it out for compiler feedback of the tests.")
    if reward_funcs is None and not with_reward_model and with_tests < len(rows):
        lacking = next(number for number, row in enumerate(rows) if row.tests is None)
        raise BadInputError(
            f"Row {lacking} of `train_dataset` has no `tests`, and there is neither `reward_funcs` nor `reward_model` "
            "to score it. Add the column or pass one of them."
        )
    number = len(funcs) + with_reward_model
    weights = [1.0] * number if reward_weights is None else [float(weight) for weight in reward_weights]
    if len(weights) != number:
        raise BadInputError(
            f"`reward_weights` has {len(weights)} values, but there are {len(funcs)} reward functions and "
            f"{number - len(funcs)} reward models. Pass {number}."
        )
    return funcs, weights


def call_rewards(funcs: Sequence[RewardFunc], columns: Mapping[str, Any]) -> dict[str, tuple[float | None, ...]]:
    """Return the scores by the name of the reward function. If a name occurs again, its number is appended."""
    by_source: dict[str, tuple[float | None, ...]] = {}
    for number, func in enumerate(funcs):
        name = reward_name(func)
        by_source[f"{name}_{number}" if name in by_source else name] = call_reward(func, columns)
    return by_source


def without_failed_programs(
    scores: Sequence[float | None], completions: Sequence[Completion], executions: Sequence[Execution | None]
) -> list[float | None]:
    """Remove the scores of programs that the sandbox failed to run, even if another reward scored them."""
    rows = zip(scores, completions, executions, strict=True)
    return [None if one.start.row.tests is not None and run is None else score for score, one, run in rows]
