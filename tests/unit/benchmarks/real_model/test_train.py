"""Problems, intervals, reports and continuation of training. `stepcoder-trl ppo` does the training itself."""

from __future__ import annotations

import argparse
import itertools
import json
from pathlib import Path

import pytest

from benchmarks.real_model import train as real_model
from stepcoder_trl import Problem
from stepcoder_trl.errors import BadInputError


def problem(number, solution):
    tests = {"type": "assert", "setup": "", "asserts": ["assert f(1) == 1"]}
    return Problem(f"MBPP/{number}", "Write f.", "", solution, tests)


BRANCHED = "def f(x):\n    y = x\n    if y:\n        y = 1\n    for _ in range(2):\n        y += 0\n    return y\n"
STRAIGHT = "def f(x):\n    return x\n"


def test_seed_draws_training_problems_with_a_curriculum():
    problems = [problem(number, BRANCHED if number % 2 else STRAIGHT) for number in range(590, 640)]

    drawn = real_model.training_problems(problems, seed=1)

    numbers = [int(one.task_id.removeprefix("MBPP/")) for one in drawn]
    assert len(set(numbers)) == real_model.PROBLEMS
    assert all(number % 2 and number in real_model.TRAIN for number in numbers)
    assert drawn == real_model.training_problems(problems, 1) != real_model.training_problems(problems, 2)


def test_interval_covers_problems_and_seeds():
    problems = [{f"{seed}/{number}": float(number % 2) for number in range(100)} for seed in range(3)]
    seeds = [{f"{seed}/{number}": seed / 2 for number in range(100)} for seed in range(3)]

    of_problems, of_seeds = real_model.interval(problems), real_model.interval(seeds)

    assert of_problems["value"] == of_seeds["value"] == 0.5
    assert 0.4 < of_problems["low"] < 0.5 < of_problems["high"] < 0.6
    assert (of_seeds["low"], of_seeds["high"]) == (0.0, 1.0)


def test_sharing_problems_between_seeds_does_not_narrow_the_interval():
    rates = {str(number): float(number % 2) for number in range(90)}

    once, thrice = real_model.interval([rates]), real_model.interval([rates] * 3)

    assert thrice["high"] - thrice["low"] == pytest.approx(once["high"] - once["low"], rel=0.1)


def test_arms_and_initial_model_are_compared_on_the_same_problems():
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


def test_report_compares_arms_on_both_sets(tmp_path, monkeypatch):
    def evaluated(folder, rates):
        folder.mkdir(parents=True)
        rows = [{"task_id": task, "passed": passed} for task, passes in rates.items() for passed in passes]
        (folder / "results.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        (folder / "summary.json").write_text("{}")

    evaluated(tmp_path / "initial", {"MBPP/511": [True, False], "MBPP/601": [False, False]})
    evaluated(tmp_path / "seed0" / "ppo-evaluated-4", {"MBPP/511": [True, True], "MBPP/601": [False, False]})
    evaluated(tmp_path / "seed0" / "stepcoder-evaluated-4", {"MBPP/511": [False, False], "MBPP/601": [True, False]})
    monkeypatch.setattr(real_model, "SEEDS", (0,))

    result = real_model.report(argparse.Namespace(work=tmp_path, updates=4))

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


def test_folder_with_other_settings_is_refused(tmp_path):
    settings = dict.fromkeys(real_model.FIXED, "as before")
    arguments = argparse.Namespace(work=tmp_path, **settings)
    real_model.check_settings(arguments)
    real_model.check_settings(arguments)
    arguments.model = "another"

    with pytest.raises(SystemExit, match="--model as before"):
        real_model.check_settings(arguments)
    written = json.loads((tmp_path / "settings.json").read_text())
    assert {name: written[name] for name in settings} == settings


def test_folder_with_another_recipe_is_refused(tmp_path, monkeypatch):
    arguments = argparse.Namespace(work=tmp_path, **dict.fromkeys(real_model.FIXED, "as before"))
    real_model.check_settings(arguments)
    monkeypatch.setitem(real_model.RECIPE, "learning_rate", 1e-4)

    with pytest.raises(SystemExit, match="begun with another recipe"):
        real_model.check_settings(arguments)


class Commands:
    """Replaces training and evaluation: writes their files, or is interrupted."""

    def __init__(self, work):
        self.work, self.called, self.interrupted = work, [], False

    def __call__(self, *command):
        value = dict(itertools.pairwise(command))
        if "--one" in command:
            folder = self.work / f"seed{command[-1]}" / value["--one"]
            self.called.append(("train", folder.name, value["--updates"]))
            state = folder / f"checkpoint-{value['--updates']}" / "trainer_state.json"
            state.parent.mkdir(parents=True)
            history = [{"step": step + 1} for step in range(int(value["--updates"]))]
            state.write_text(json.dumps({"log_history": history}))
            return
        self.called.append(("evaluate", Path(value["--model"]).name))
        if self.interrupted:
            raise KeyboardInterrupt
        out = Path(value["--out"])
        out.mkdir(parents=True)
        (out / "summary.json").write_text("{}")


def test_finished_runs_are_not_repeated(tmp_path, monkeypatch):
    problems = [problem(number, BRANCHED) for number in (511, 601, 602)]
    commands = Commands(tmp_path / "work")
    monkeypatch.setattr(real_model, "load_problems", lambda _: problems)
    monkeypatch.setattr(real_model, "_call", commands)
    monkeypatch.setattr(real_model, "SEEDS", (0,))
    monkeypatch.setattr(real_model, "PROBLEMS", 1)
    monkeypatch.setattr("sys.argv", ["real_model.py", "--updates", "2"])
    arguments = argparse.Namespace(model="m", mbpp="b", work=tmp_path / "work", updates=2, bf16=False)

    real_model.run_all(arguments)
    first, commands.called = commands.called, []
    real_model.run_all(arguments)
    ppo = [("train", "ppo", "2"), ("evaluate", "checkpoint-2")]
    stepcoder = [("train", "stepcoder", "2"), ("evaluate", "checkpoint-2")]
    assert first == [("evaluate", "m"), *ppo, *stepcoder]
    assert commands.called == []

    monkeypatch.setattr("sys.argv", ["real_model.py", "--updates", "4"])
    arguments.updates, commands.interrupted = 4, True
    with pytest.raises(KeyboardInterrupt):
        real_model.run_all(arguments)
    commands.interrupted = False
    real_model.run_all(arguments)
    ppo = [("train", "ppo", "4"), ("evaluate", "checkpoint-4"), ("evaluate", "checkpoint-4")]
    assert commands.called == [*ppo, ("train", "stepcoder", "4"), ("evaluate", "checkpoint-4")]


def test_too_few_problems_are_refused_before_training(tmp_path, monkeypatch):
    monkeypatch.setattr(real_model, "load_problems", lambda _: [problem(601, BRANCHED), problem(602, STRAIGHT)])
    arguments = argparse.Namespace(mbpp="b", work=tmp_path / "work")

    with pytest.raises(BadInputError, match=r"1 training problems .* a seed takes 16"):
        real_model.run_all(arguments)
    assert not arguments.work.exists()


@pytest.mark.parametrize(
    ("text", "flags", "message"),
    [
        ("", [], "holds no rows"),
        ('{"task_id": 601}\n', [], "mbpp.jsonl:1: "),
        ("", ["--updates", "0"], "--updates is 0"),
    ],
)
def test_bad_input_gives_one_line(tmp_path, monkeypatch, capsys, text, flags, message):
    mbpp = tmp_path / "mbpp.jsonl"
    mbpp.write_text(text)
    folders = ["--model", str(tmp_path), "--mbpp", str(mbpp), "--work", str(tmp_path / "work")]
    monkeypatch.setattr("sys.argv", ["real_model.py", *folders, *flags])

    with pytest.raises(SystemExit) as stopped:
        real_model.main()
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err.splitlines()[-1]
