"""Reward functions of the caller."""

from __future__ import annotations

import asyncio
import functools

import pytest

from stepcoder_trl.errors import BadInputError
from stepcoder_trl.rewards import unit_test_reward
from stepcoder_trl.steps.reward_functions import call_all, find_reward, reward_name, takes_columns


COLUMNS = {"completions": ["a", "bb"], "level": [1, 2], "prefix": ["", ""]}


def test_function_without_keyword_arguments_gets_what_it_takes():
    def lengths(completions, level=None):
        return [len(text) + extra for text, extra in zip(completions, level, strict=True)]

    func = takes_columns(lengths, ["level"])

    assert func(**COLUMNS) == [2, 4]
    assert reward_name(func) == "lengths"


def test_function_with_keyword_arguments_is_unchanged():
    def judge(completions, **columns):
        return []

    partial = functools.partial(unit_test_reward, untrusted_passes="drop")

    assert takes_columns(judge, []) is judge
    assert takes_columns(partial, []) is partial


def test_callable_object_keeps_the_name_of_its_class():
    class Judge:
        def __call__(self, completions):
            return [0.0 for _ in completions]

    func = takes_columns(Judge(), [])

    assert func(**COLUMNS) == [0.0, 0.0]
    assert reward_name(func) == "Judge"


def test_needed_column_that_there_is_not_is_refused():
    def accuracy(completions, solution, **columns):
        return []

    with pytest.raises(BadInputError, match="`accuracy` needs `solution`, which is no column of the dataset"):
        takes_columns(accuracy, ["tests"])
    assert takes_columns(accuracy, ["solution"]) is accuracy


def test_async_functions_run_together():
    running = []

    async def wait(completions):
        running.append(1)
        while len(running) < 2:  # would not end if one were awaited before the other is started
            await asyncio.sleep(0)
        return [1.0 for _ in completions]

    def plain(completions, **columns):
        return [0.0 for _ in completions]

    funcs = [takes_columns(wait, []), plain, takes_columns(wait, [])]

    assert call_all(funcs, COLUMNS) == [[1.0, 1.0], [0.0, 0.0], [1.0, 1.0]]


def test_async_function_works_within_a_running_loop():
    async def judge(completions, **columns):
        return [1.0, 2.0]

    async def notebook():
        return call_all([judge], COLUMNS)

    assert asyncio.run(notebook()) == [[1.0, 2.0]]


def test_functions_are_found_by_name(tmp_path, monkeypatch):
    (tmp_path / "rewards_of_mine.py").write_text("LIMIT = 3\ndef short(completions):\n    return [0.5]\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", ["somewhere"])

    assert find_reward("stepcoder") is unit_test_reward
    assert find_reward("rewards_of_mine:short")(["a"]) == [0.5]
    with pytest.raises(BadInputError, match=r"rewards_of_mine has no `long`\. Name a function"):
        find_reward("rewards_of_mine:long")
    with pytest.raises(BadInputError, match=r"Did you mean `short`\?"):
        find_reward("rewards_of_mine:shrt")
    with pytest.raises(BadInputError, match="rewards_of_mine has a int, not a function, as `LIMIT`"):
        find_reward("rewards_of_mine:LIMIT")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("stepcodr", "'stepcodr', but must name functions: stepcoder, ppocoder, rltf or one of your own"),
        ("missing_module:f", "whose module cannot be imported: No module named 'missing_module'"),
        ("module:", "but must name functions"),
    ],
)
def test_names_of_no_function_are_one_line(name, message):
    with pytest.raises(BadInputError, match=message):
        find_reward(name)
