"""Choices and books of benchmarks/real_model.py; its training is that of `stepcoder-trl ppo`."""

from __future__ import annotations

import argparse
import json

import pytest

from benchmarks import real_model
from stepcoder_trl import Problem


def problem(number, solution):
    tests = {"type": "assert", "setup": "", "asserts": ["assert f(1) == 1"]}
    return Problem(f"MBPP/{number}", "Write f.", "", solution, tests)


BRANCHED = "def f(x):\n    y = x\n    if y:\n        y = 1\n    for _ in range(2):\n        y += 0\n    return y\n"
STRAIGHT = "def f(x):\n    return x\n"


def test_training_problems_have_a_curriculum_and_are_drawn_by_the_seed():
    problems = [problem(number, BRANCHED if number % 2 else STRAIGHT) for number in range(590, 640)]

    drawn = real_model.training_problems(problems, 5, seed=1)

    numbers = [int(one.task_id.removeprefix("MBPP/")) for one in drawn]
    assert len(set(numbers)) == 5
    assert all(number % 2 and number in real_model.TRAIN for number in numbers)
    assert drawn == real_model.training_problems(problems, 5, seed=1) != real_model.training_problems(problems, 5, 2)


def test_interval_covers_problems_and_seeds():
    same = real_model.interval([[0.0, 1.0] * 50] * 3)
    seeds = real_model.interval([[0.0] * 100, [0.5] * 100, [1.0] * 100])

    assert same["value"] == seeds["value"] == 0.5
    assert 0.4 < same["low"] < 0.5 < same["high"] < 0.6
    assert (seeds["low"], seeds["high"]) == (0.0, 1.0)


def test_a_folder_keeps_to_what_it_was_begun_with(tmp_path):
    asked = dict.fromkeys(real_model.ASKED, "as before")
    arguments = argparse.Namespace(work=tmp_path, **asked)
    real_model.check_settings(arguments)
    real_model.check_settings(arguments)
    arguments.response_length = 64

    with pytest.raises(SystemExit, match="--response-length as before"):
        real_model.check_settings(arguments)
    assert json.loads((tmp_path / "settings.json").read_text()) == asked


def test_settings_reach_the_process_that_trains():
    arguments = argparse.Namespace(
        model="m", mbpp="b", work="w", problems=3, response_length=9, updates=2, save_steps=1, until=5.0, bf16=True
    )

    passed_on = real_model._passed_on(arguments)

    assert passed_on[passed_on.index("--response-length") + 1] == "9"
    assert passed_on[-1] == "--bf16"
