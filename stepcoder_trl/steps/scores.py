"""Scores of completions: calls of the reward functions, checks, and the weighted sum."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from stepcoder_trl.errors import BadInputError
from stepcoder_trl.rewards import unit_test_reward
from stepcoder_trl.steps.reward_functions import RewardFunc, call_all, named_reward, reward_name, takes_columns
from stepcoder_trl.steps.rows import PromptRow
from stepcoder_trl.steps.starts import Completion
from stepcoder_trl.types import Execution


def reward_completion(completion: Completion) -> str | list[dict[str, str]]:
    """Return what reward functions get of a completion, as in TRL: text, or for a chat a list of one message."""
    if isinstance(completion.start.row.prompt, str):
        return completion.text
    return [{"role": "assistant", "content": completion.text}]


def reward_columns(completions: Sequence[Completion], executions: Sequence[Execution | None]) -> dict[str, list[Any]]:
    """Return the keyword arguments of reward functions: lists with one entry per completion."""
    starts = [completion.start for completion in completions]
    rows = [start.row for start in starts]
    names = list(dict.fromkeys(name for row in rows for name in row.columns))
    return {
        **{name: [row.columns.get(name) for row in rows] for name in names},
        "prompts": [start.query.text if start.row.token_ids is not None else start.row.prompt for start in starts],
        "completions": [reward_completion(completion) for completion in completions],
        "completion_ids": [list(completion.token_ids) for completion in completions],
        "task_id": [row.task_id for row in rows],
        "prefix": [start.query.prefix for start in starts],
        "program": [completion.program.text for completion in completions],
        "execution": list(executions),
    }


def checked_scores(name: str, values: Sequence[float | None]) -> tuple[float | None, ...]:
    """Return the scores of reward function `name`, with `None` for NaN, as in TRL. Refuses infinite scores."""
    try:
        scores = [math.nan if value is None else float(value) for value in values]
    except (TypeError, ValueError) as error:
        raise BadInputError(f"`{name}` gave a score that is no number: {error}. Return numbers or `None`.") from error
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
    reward_funcs: str | RewardFunc | Sequence[str | RewardFunc] | None,
    reward_weights: Sequence[float] | None,
    with_reward_model: bool,
) -> tuple[list[RewardFunc], list[float]]:
    """
    Return the reward functions of a run, and the weight of each and of the reward model, which is last.

    By default, tests give compiler feedback, and each weight is 1.

    Raises:
        BadInputError: If a row could not be scored, a function needs a column that there is not, or the number of
            weights is wrong.
    """
    with_tests = sum(row.tests is not None for row in rows)
    if reward_funcs is None:
        funcs: list[RewardFunc] = [unit_test_reward] if with_tests else []
    else:
        given: Any = reward_funcs if isinstance(reward_funcs, (list, tuple)) else [reward_funcs]
        funcs = [named_reward(one) for one in given]
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
    columns = {name for row in rows for name in row.columns}
    return [takes_columns(func, columns) for func in funcs], weights


def call_rewards(funcs: Sequence[RewardFunc], columns: Mapping[str, Any]) -> dict[str, tuple[float | None, ...]]:
    """
    Return the scores by the name of the reward function. If a name occurs again, its number is appended.

    Raises:
        BadInputError: If a function does not return one finite value per completion.
    """
    by_source: dict[str, tuple[float | None, ...]] = {}
    for number, (func, given) in enumerate(zip(funcs, call_all(funcs, columns), strict=True)):
        name, values = reward_name(func), list(given)
        if len(values) != len(columns["completions"]):
            raise BadInputError(
                f"The reward function `{name}` returned {len(values)} values for {len(columns['completions'])} "
                "completions. Return one per completion, `None` for one without a score."
            )
        by_source[f"{name}_{number}" if name in by_source else name] = checked_scores(name, values)
    return by_source


def without_failed_programs(
    scores: Sequence[float | None], completions: Sequence[Completion], executions: Sequence[Execution | None]
) -> list[float | None]:
    """Remove the scores of programs that the sandbox failed to run, even if another reward scored them."""
    rows = zip(scores, completions, executions, strict=True)
    return [None if one.start.row.tests is not None and run is None else score for score, one, run in rows]
