"""Scores."""

from __future__ import annotations

import math

import pytest
import torch

from stepcoder_trl.errors import BadInputError
from stepcoder_trl.steps.scores import call_rewards, choose_rewards, combine_scores, reward_columns
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
