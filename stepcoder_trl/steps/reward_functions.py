"""Reward functions of the caller: found by name, called with the columns that they take, awaited if async."""

from __future__ import annotations

import asyncio
import difflib
import functools
import importlib
import inspect
import os
import sys
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from stepcoder_trl.errors import BadInputError
from stepcoder_trl.jsonl import shown
from stepcoder_trl.rewards import REWARDS


RewardFunc = Callable[..., Any]  # returns one score per completion, or an awaitable of them

# Keyword arguments beside the columns of the dataset. The last three are objects of the trainer.
STANDARD_COLUMNS = (
    *("prompts", "completions", "completion_ids", "task_id", "prefix", "program", "execution"),
    *("trainer_state", "log_extra", "log_metric"),
)


def reward_name(func: Any) -> str:
    """Return the name of a reward function in metrics and errors."""
    return str(func.__name__ if inspect.isroutine(func) else type(func).__name__)


def names_reward_model(name: str) -> bool:
    """Return whether a name may be that of a reward model: a folder, or one of the Hub as `owner/name`."""
    return ":" not in name and name not in REWARDS and ("/" in name or os.path.isdir(name))


def check_reward_name(name: str) -> None:
    """Raise a `BadInputError` for a name that has not the form of a reward function's."""
    module_name, colon, attribute = name.partition(":")
    if name not in REWARDS and not (colon and module_name and attribute):
        raise BadInputError(
            f"`reward_funcs` has {name!r}, but must name functions: {', '.join(REWARDS)} or one of your own as "
            "`package.module:function`. Correct the name. PPO takes a reward model as `reward_model`, and GRPO here, "
            "by its folder or as `owner/name` of the Hub."
        )


def find_reward(name: str) -> RewardFunc:
    """
    Return the reward function with a name: one of `REWARDS`, or `package.module:function`.

    The module may lie in the working directory.

    Raises:
        BadInputError: If there is no such function.
    """
    if name in REWARDS:
        return REWARDS[name]
    check_reward_name(name)
    module_name, _, attribute = name.partition(":")
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        module = importlib.import_module(module_name)
    except (ImportError, SyntaxError) as error:
        raise BadInputError(
            f"`reward_funcs` has {name!r}, whose module cannot be imported: {error}. Install it, or start in the "
            "folder that holds it."
        ) from error
    func = vars(module).get(attribute)
    if not callable(func):
        what = "no" if func is None else f"a {type(func).__name__}, not a function, as"
        own = [one for one, value in vars(module).items() if inspect.isfunction(value) and not one.startswith("_")]
        close = difflib.get_close_matches(attribute, own, n=1)
        fix = f"Did you mean `{close[0]}`?" if close else "Name a function of the module."
        raise BadInputError(f"`reward_funcs` has {name!r}, but {module_name} has {what} `{attribute}`. {fix}")
    return func  # type: ignore[no-any-return]


def named_reward(func: str | RewardFunc) -> RewardFunc:
    """Return a reward function, which may be given by its name. Raise a `BadInputError` for anything else."""
    if isinstance(func, str):
        return find_reward(func)
    if not callable(func):
        raise BadInputError(
            f"`reward_funcs` has {shown(func)}, but must have functions such as `def f(completions, **columns)`, or "
            "their names. Pass functions."
        )
    return func


def takes_columns(func: RewardFunc, columns: Collection[str]) -> RewardFunc:
    """
    Return a reward function that may be called with all columns. `func` gets those that it takes.

    Args:
        func (`Callable`):
            Reward function with TRL's signature. It may lack `**kwargs`.
        columns (`Collection[str]`):
            Columns of the dataset. Those of `STANDARD_COLUMNS` are added.

    Raises:
        BadInputError: If it needs another column.
    """
    try:
        parameters = inspect.signature(func).parameters.values()
    except ValueError:  # some functions of C have no signature
        return func
    named = [one for one in parameters if one.kind not in (one.VAR_KEYWORD, one.VAR_POSITIONAL)]
    known = {*columns, *STANDARD_COLUMNS}
    lacking = [one.name for one in named if one.default is one.empty and one.name not in known]
    if lacking:
        raise BadInputError(
            f"The reward function `{reward_name(func)}` needs `{lacking[0]}`, which is no column of the dataset. It "
            f"may take {', '.join(sorted(known))}."
        )
    if any(one.kind is one.VAR_KEYWORD for one in parameters):
        return func
    names = {one.name for one in named}

    def chosen(**given: Any) -> Any:
        return func(**{name: value for name, value in given.items() if name in names})

    async def awaited(**given: Any) -> Any:
        return await chosen(**given)

    wrapper = awaited if inspect.iscoroutinefunction(func) else chosen
    functools.update_wrapper(wrapper, func)
    wrapper.__name__ = reward_name(func)
    return wrapper


def call_all(funcs: Sequence[RewardFunc], columns: Mapping[str, Any]) -> list[Sequence[float | None]]:
    """Return what each function returns. Those that are async run together, as in TRL's GRPO."""
    answers = [func(**columns) for func in funcs]
    waiting = [number for number, answer in enumerate(answers) if inspect.isawaitable(answer)]
    if waiting:
        # A thread of its own, because a notebook has a loop that is running already.
        with ThreadPoolExecutor(1) as thread:
            results = thread.submit(asyncio.run, _gather([answers[number] for number in waiting])).result()
        for number, result in zip(waiting, results, strict=True):
            answers[number] = result
    return answers


async def _gather(answers: Sequence[Awaitable[Any]]) -> list[Any]:
    return list(await asyncio.gather(*answers))
