"""Scores of completions: calls of the reward functions, checks, and the weighted sum."""

from __future__ import annotations

import functools
import inspect
import math
import os
import traceback
from collections.abc import Awaitable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from stepcoder_trl.errors import BadInputError, StepCoderError
from stepcoder_trl.jsonl import shown
from stepcoder_trl.rewards import unit_test_reward
from stepcoder_trl.steps.reward_functions import RewardFunc, call_all, named_reward, reward_name, takes_columns
from stepcoder_trl.steps.rows import PromptRow
from stepcoder_trl.steps.starts import Completion
from stepcoder_trl.types import Execution


_SHOWN_FRAMES = 3  # of the code in which a reward function failed
_WRAPPERS = (__file__, takes_columns.__code__.co_filename)  # whose frames are none of that code


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


def checked_scores(name: str, values: Any, num_completions: int) -> tuple[float | None, ...]:
    """
    Return the scores of reward `name`, with `None` for NaN, as in TRL.

    Raises:
        BadInputError: If they are not one finite number or `None` per completion.
    """
    try:
        given = list(_not_text(values))
    except TypeError as error:
        raise BadInputError(
            f"Reward `{name}` returned {shown(values)}, but must return a list with one number per completion, `None` "
            "for one without a score."
        ) from error
    scores = []
    for value in given:
        try:
            scores.append(math.nan if value is None else float(_not_text(value)))
        except (TypeError, ValueError) as error:
            raise BadInputError(
                f"Reward `{name}` gave the score {shown(value)}, which is no number. Return numbers or `None`."
            ) from error
    if len(scores) != num_completions:
        raise BadInputError(
            f"Reward `{name}` returned {len(scores)} values for {num_completions} completions. Return one per "
            "completion, `None` for one without a score."
        )
    for number, score in enumerate(scores):
        if math.isinf(score):
            raise BadInputError(
                f"Reward `{name}` gave {score} for completion {number}, but a score must be finite. Return `None` for "
                "a completion without a score."
            )
    return tuple(None if math.isnan(score) else score for score in scores)


def _not_text(value: Any) -> Any:
    """Return a value. Raise a `TypeError` for text, which would be read as a number or as a list of letters."""
    if isinstance(value, (str, bytes)):
        raise TypeError("text")
    return value


def guarded(func: RewardFunc) -> RewardFunc:
    """
    Return a reward function whose scores are checked.

    An error in it becomes a `BadInputError` that names the function and the lines of the caller's code.
    """
    name = reward_name(func)

    async def awaited(answer: Awaitable[Any], num_completions: int) -> tuple[float | None, ...]:
        with _named_errors(name):
            values = await answer
        return checked_scores(name, values, num_completions)

    def called(**given: Any) -> Any:
        num_completions = len(given["completions"])
        with _named_errors(name):
            answer = func(**given)
        if inspect.isawaitable(answer):
            return awaited(answer, num_completions)
        return checked_scores(name, answer, num_completions)

    async def called_async(**given: Any) -> Any:
        return await called(**given)

    wrapper = called_async if inspect.iscoroutinefunction(func) else called
    functools.update_wrapper(wrapper, func)
    wrapper.__name__ = name
    return wrapper


@contextmanager
def _named_errors(name: str) -> Iterator[None]:
    """Let an error of a reward function name the function and the last lines of the code that raised it."""
    try:
        yield
    except StepCoderError:
        raise
    except Exception as error:
        trail = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename not in _WRAPPERS]
        places = [f"{os.path.basename(one.filename)}:{one.lineno} in {one.name}" for one in trail[-_SHOWN_FRAMES:]]
        where = f" ({', '.join(places)})" if places else ""
        what = " ".join(f"{type(error).__name__}: {error}".split())
        raise BadInputError(f"The reward function `{name}` raised {what}{where}. Correct it.") from error


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
    answers = call_all([guarded(func) for func in funcs], columns)
    for number, (func, values) in enumerate(zip(funcs, answers, strict=True)):
        name = reward_name(func)
        by_source[f"{name}_{number}" if name in by_source else name] = tuple(values)
    return by_source


def without_failed_programs(
    scores: Sequence[float | None], completions: Sequence[Completion], executions: Sequence[Execution | None]
) -> list[float | None]:
    """Remove the scores of programs that the sandbox failed to run, even if another reward scored them."""
    rows = zip(scores, completions, executions, strict=True)
    return [None if one.start.row.tests is not None and run is None else score for score, one, run in rows]
