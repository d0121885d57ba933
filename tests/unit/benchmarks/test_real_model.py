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


def test_arms_are_compared_with_each_other_and_with_the_model_on_the_same_problems():
    initial = {"MBPP/511": 0.5, "MBPP/601": 0.0, "MBPP/602": 1.0}
    by_seed = [
        {"ppo": {"MBPP/601": 0.5}, "stepcoder": {"MBPP/601": 1.0}},
        {"ppo": {"MBPP/602": 1.0}, "stepcoder": {"MBPP/602": 0.5}},
    ]

    compared = real_model.compare(initial, by_seed)

    assert compared["by seed"] == {
        "initial": [0.0, 1.0],
        "ppo": [0.5, 1.0],
        "stepcoder": [1.0, 0.5],
        "stepcoder - ppo": [0.5, -0.5],
    }
    assert compared["stepcoder - ppo"] == {"value": 0.0, "low": -0.5, "high": 0.5}


def test_report_takes_only_seeds_of_which_both_arms_are_finished(tmp_path):
    def evaluated(folder, rates):
        folder.mkdir(parents=True)
        rows = [{"task_id": task, "passed": passed} for task, passes in rates.items() for passed in passes]
        (folder / "results.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        (folder / "summary.json").write_text("{}")

    evaluated(tmp_path / "initial", {"MBPP/511": [True, False], "MBPP/601": [False, False]})
    evaluated(tmp_path / "seed0" / "ppo-evaluated-4", {"MBPP/511": [True, True], "MBPP/601": [False, False]})
    evaluated(tmp_path / "seed0" / "stepcoder-evaluated-4", {"MBPP/511": [False, False], "MBPP/601": [True, False]})
    evaluated(tmp_path / "seed1" / "ppo-evaluated-4", {"MBPP/511": [True, True], "MBPP/601": [True, True]})
    arguments = argparse.Namespace(work=tmp_path, seeds=[0, 1], updates=4, problems=1, response_length=128, samples=2)

    result = real_model.report(arguments)

    assert result["seeds"] == [0]
    assert result["validation_problems"] == 1
    assert result["pass@1"]["validation"]["by seed"] == {
        "initial": [0.5],
        "ppo": [1.0],
        "stepcoder": [0.0],
        "stepcoder - ppo": [-1.0],
    }
    assert result["pass@1"]["training"]["by seed"]["stepcoder - ppo"] == [0.5]
    text = "\n".join(real_model.show(result))
    assert "pass@1 on training problems, 2 samples each, seeds [0]" in text


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
