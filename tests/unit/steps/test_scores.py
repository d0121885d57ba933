"""Scores."""

from __future__ import annotations

import asyncio
import inspect
import math

import pytest
import torch

from stepcoder_trl.errors import BadInputError, SandboxError
from stepcoder_trl.steps.reward_functions import takes_columns
from stepcoder_trl.steps.scores import call_rewards, choose_rewards, combine_scores, guarded, reward_columns
from tests.unit.steps.samples import make_completion, make_execution


def test_weighted_sum_ignores_missing_scores():
    by_source = {"a": [1.0, None, 2.0, None], "b": [10.0, 10.0, None, None]}

    assert combine_scores(by_source, [0.5, 2.0]) == [20.5, 20.0, 1.0, None]


def test_a_reward_function_must_return_one_value_per_completion():
    def short(completions, **columns):
        return [0.0]

    with pytest.raises(ValueError, match="`short` returned 1 values for 2 completions"):
        call_rewards([short], {"completions": ["a", "b"]})


@pytest.mark.parametrize("value", [math.nan, torch.tensor(math.nan)])
def test_nan_is_no_score(value):
    def judge(completions):
        return [value, 1]

    assert call_rewards([judge], {"completions": ["a", "b"]}) == {"judge": (None, 1.0)}


@pytest.mark.parametrize("value", [math.inf, -math.inf])
def test_an_infinite_score_is_refused(value):
    def judge(completions):
        return [0.0, value]

    with pytest.raises(ValueError, match=rf"`judge` gave {value} for completion 1"):
        call_rewards([judge], {"completions": ["a", "b"]})


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ("good", r"Reward `judge` returned 'good' \(str\), but must return a list"),
        (1.0, r"Reward `judge` returned 1.0 \(float\)"),
        (None, "Reward `judge` returned None, but must return a list"),
        (torch.tensor(1.0), "Reward `judge` returned tensor"),
        (["0.5", 1.0], r"Reward `judge` gave the score '0.5' \(str\), which is no number"),
        ([[1], 1.0], r"Reward `judge` gave the score \[1\] \(list\)"),
    ],
)
@pytest.mark.parametrize("is_async", [False, True])
def test_answer_that_is_no_list_of_numbers_is_refused(answer, message, is_async):
    def judge(completions):
        return answer

    async def later(completions):
        return answer

    later.__name__ = "judge"

    with pytest.raises(BadInputError, match=message):
        call_rewards([later if is_async else judge], {"completions": ["a", "b"]})


def test_error_of_the_call_shows_no_code_of_the_package():
    with pytest.raises(BadInputError) as error:
        call_rewards([takes_columns(lambda completions: 1 / 0, ["a"])], {"completions": ["a"], "task_id": ["b"]})

    assert "ZeroDivisionError: division by zero (test_scores.py:" in str(error.value)
    assert "/" not in str(error.value)
    assert "chosen" not in str(error.value)
    with pytest.raises(BadInputError, match=r"raised TypeError: .* takes no keyword arguments\. Correct it\.$"):
        call_rewards([len], {"completions": ["a"]})


@pytest.mark.parametrize("is_async", [False, True])
def test_error_in_a_reward_function_names_it_and_its_lines(is_async):
    def share(text):
        return 1 / len(text)

    def judge(completions):
        return [share(text) for text in completions]

    async def later(completions):
        return judge(completions)

    name = "later" if is_async else "judge"
    with pytest.raises(BadInputError) as error:
        call_rewards([later if is_async else judge], {"completions": ["a", ""]})

    message = str(error.value)
    assert message.startswith(f"The reward function `{name}` raised ZeroDivisionError: division by zero (test_scores")
    assert "called" not in message
    assert message.endswith(" in share). Correct it.")
    assert " in judge" in message
    assert isinstance(error.value.__cause__, ZeroDivisionError)


def test_failure_of_the_sandbox_in_a_reward_function_stays():
    def judge(completions):
        raise SandboxError("disk full")

    with pytest.raises(SandboxError, match="disk full"):
        call_rewards([judge], {"completions": ["a"]})


def test_guarded_function_is_async_for_trl_if_it_was():
    async def judge(completions):
        return [math.nan for _ in completions]

    func = guarded(judge)

    assert inspect.iscoroutinefunction(func)
    assert func.__name__ == "judge"
    assert asyncio.run(func(completions=["a"])) == (None,)


def test_object_that_is_no_function_is_refused():
    with pytest.raises(BadInputError, match=r"`reward_funcs` has 3 \(int\), but must have functions"):
        choose_rewards([], [3], None, False)


def test_columns_of_a_reward_function():
    completion, run = make_completion(" return 1", "def f():", columns={"level": 3}), make_execution()

    columns = reward_columns([completion], [run])

    assert columns == {
        "level": [3],
        "prompt": ["prompt"],
        "prompts": ["prompt"],
        "completions": [" return 1"],
        "completion_ids": [list(range(10))],
        "task_id": ["task"],
        "prefix": ["def f():"],
        "program": ["def f(): return 1"],
        "execution": [run],
    }


def test_completions_of_chats_are_messages_as_in_trl():
    completion = make_completion(" return 1", "def f():", prompt=[{"role": "user", "content": "Write f."}])

    columns = reward_columns([completion], [None])

    assert columns["completions"] == [[{"role": "assistant", "content": " return 1"}]]


def test_wrong_number_of_weights_is_refused():
    with pytest.raises(BadInputError, match="`reward_weights` has 1 values"):
        choose_rewards([], [len, len], [1.0], False)
