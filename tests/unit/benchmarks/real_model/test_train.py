"""Problems, continuation and report of training. The trainers themselves are tested elsewhere."""

from __future__ import annotations

import argparse
import itertools
import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from benchmarks.real_model import __main__ as command
from benchmarks.real_model import train, training_report
from benchmarks.real_model.sitting import Sitting, TimeIsOver
from benchmarks.real_model.stages import SampleFile
from tests.unit.benchmarks.real_model.conftest import sign_task


def scratch_row(name, passed):
    outcomes = ["passed"] * passed + ["failed"] * (8 - passed)
    return {"set": "MBPP", "task_id": name, "stages": [{"stage": 0, "outcomes": outcomes}]}


def sitting(seconds=1e9):
    return Sitting(seconds)


def test_hard_problems_pass_at_most_once_from_scratch():
    unknown = {"set": "MBPP", "task_id": "d", "stages": [{"stage": 0, "outcomes": [None] + ["failed"] * 7}]}
    failing = {"set": "MBPP", "task_id": "e", "failing": "timeout"}
    rows = [scratch_row("a", 2), scratch_row("b", 1), scratch_row("c", 0), unknown, failing]

    assert train.hard_problems(rows) == ["b", "c"]


def test_seeds_draw_different_problems_from_the_pool():
    pool = [str(number) for number in range(train.POOL)]

    drawn = train.training_problems(pool, 1)

    assert len(set(drawn)) == train.PROBLEMS
    assert drawn == train.training_problems(pool, 1) != train.training_problems(pool, 2)


def test_search_ends_when_enough_problems_are_found(tmp_path, monkeypatch):
    monkeypatch.setattr(train, "POOL", 2)
    tasks = [sign_task(str(number)) for number in range(9)]
    measured = SimpleNamespace(measure=lambda some, number: [scratch_row(one.row.task_id, 1) for one in some])
    file = SampleFile(tmp_path / "scratch.jsonl", {})

    assert train.find_hard_problems(tasks, file, measured, 1, sitting()) == ["0", "1"]
    assert len(file.rows) == 2

    monkeypatch.setattr(train, "POOL", 99)
    assert len(train.find_hard_problems(tasks, file, measured, 4, sitting())) == 9
    with pytest.raises(TimeIsOver):
        train.find_hard_problems(tasks, SampleFile(tmp_path / "new.jsonl", {}), measured, 1, sitting(0))


def test_interval_covers_problems_and_seeds():
    problems = [{f"{seed}/{number}": float(number % 2) for number in range(100)} for seed in range(3)]
    seeds = [{f"{seed}/{number}": seed / 2 for number in range(100)} for seed in range(3)]

    of_problems, of_seeds = training_report.interval(problems), training_report.interval(seeds)

    assert of_problems["value"] == of_seeds["value"] == 0.5
    assert 0.4 < of_problems["low"] < 0.5 < of_problems["high"] < 0.6
    assert (of_seeds["low"], of_seeds["high"]) == (0.0, 1.0)


def test_sharing_problems_between_seeds_does_not_narrow_the_interval():
    rates = {str(number): float(number % 2) for number in range(90)}

    once, thrice = training_report.interval([rates]), training_report.interval([rates] * 3)

    assert thrice["high"] - thrice["low"] == pytest.approx(once["high"] - once["low"], rel=0.1)


def test_arms_and_initial_model_are_compared_on_the_same_problems():
    initial = {"a": 0.5, "b": 0.0, "c": 1.0}
    by_seed = [
        {"baseline": {"b": 0.5}, "stepcoder": {"b": 1.0}},
        {"baseline": {"c": 1.0}, "stepcoder": {"c": 0.5}},
    ]

    compared = training_report.compare(initial, by_seed)

    assert compared["by seed"] == {
        "initial": [0.0, 1.0],
        "baseline": [0.5, 1.0],
        "stepcoder": [1.0, 0.5],
        "stepcoder - baseline": [0.5, -0.5],
    }
    assert compared["stepcoder - baseline"] == {"value": 0.0, "low": -0.5, "high": 0.5}


def evaluated(folder, rates):
    folder.mkdir(parents=True)
    rows = [{"task_id": task, "passed": passed} for task, passes in rates.items() for passed in passes]
    (folder / "results.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "summary.json").write_text("{}")


def test_report_has_the_seeds_whose_arms_are_all_evaluated(tmp_path):
    evaluated(tmp_path / "initial", {"held": [True, False], "hard": [False, False]})
    evaluated(tmp_path / "seed0" / "baseline-evaluated-4", {"held": [True, True], "hard": [False, None]})
    evaluated(tmp_path / "seed0" / "stepcoder-evaluated-4", {"held": [False, False], "hard": [True, False]})
    evaluated(tmp_path / "seed1" / "baseline-evaluated-4", {"held": [True, True], "hard": [False, False]})

    result = training_report.report(tmp_path, 4, ["held"])

    assert result["seeds"] == [0]
    assert list(result["arms"]) == ["baseline", "stepcoder"]
    assert result["pass@1"]["held-out"]["by seed"] == {
        "initial": [0.5],
        "baseline": [1.0],
        "stepcoder": [0.0],
        "stepcoder - baseline": [-1.0],
    }
    assert result["pass@1"]["training"]["by seed"]["stepcoder - baseline"] == [0.5]
    text = training_report.table(result)
    assert "| stepcoder - baseline | -1.000 [-1.000, -1.000] | -1.000 |" in text
    assert training_report.table(training_report.report(tmp_path, 8, ["held"])).startswith("No seed")


def test_folder_with_other_settings_or_another_recipe_is_refused(tmp_path, monkeypatch):
    arguments = argparse.Namespace(work=tmp_path, **{**dict.fromkeys(train.FIXED, "as before"), "trainer": "grpo"})
    train.check_settings(arguments)
    train.check_settings(arguments)

    arguments.model = "another"
    with pytest.raises(SystemExit, match="--model as before"):
        train.check_settings(arguments)
    arguments.model = "as before"
    monkeypatch.setitem(train.RECIPE, "learning_rate", 1e-2)
    with pytest.raises(SystemExit, match="begun with another recipe"):
        train.check_settings(arguments)


class Commands:
    """Replaces training and evaluation: writes their files, or does not get far."""

    def __init__(self, work):
        self.work, self.called, self.slow = work, [], False

    def __call__(self, *words, sitting, ends_at_once=False):
        sitting.left_s()
        value = dict(itertools.pairwise(words))
        if "--one" in words:
            arm, seed = words[-3:-1]
            goal = int(value["--updates"]) - self.slow
            self.called.append(("train", arm, goal))
            state = self.work / f"seed{seed}" / arm / f"checkpoint-{goal}" / "trainer_state.json"
            state.parent.mkdir(parents=True)
            state.write_text(json.dumps({"log_history": [{"step": step + 1} for step in range(goal)]}))
            return
        self.called.append(("evaluate", Path(value["--model"]).name))
        evaluated(Path(value["--out"]), {})


def test_finished_runs_are_not_repeated(tmp_path, monkeypatch):
    commands = Commands(tmp_path)
    monkeypatch.setattr(train, "call", commands)
    monkeypatch.setattr(train, "SEEDS", (0,))
    monkeypatch.setattr("sys.argv", ["real_model", "train", "--updates", "2"])
    arguments = argparse.Namespace(
        model="m", work=tmp_path, updates=2, arms=["baseline", "stepcoder"], new_tokens=8, dtype="float32"
    )
    tasks = [sign_task(str(number)) for number in range(train.HELD_OUT + 1)]
    hard = [tasks[-1].row.task_id]

    train.train_all(arguments, tasks, hard, sitting())
    first, commands.called = commands.called, []
    train.train_all(arguments, tasks, hard, sitting())
    baseline = [("train", "baseline", 2), ("evaluate", "checkpoint-2")]
    stepcoder = [("train", "stepcoder", 2), ("evaluate", "checkpoint-2")]
    assert first == [("evaluate", "m"), *baseline, *stepcoder]
    assert commands.called == []

    monkeypatch.setattr("sys.argv", ["real_model", "train", "--updates", "4"])
    arguments.updates, commands.slow = 4, True
    with pytest.raises(TimeIsOver):
        train.train_all(arguments, tasks, hard, sitting())
    assert commands.called == [("train", "baseline", 3)]
    rows = (tmp_path / "initial.jsonl").read_text().splitlines()
    assert len(rows) == train.HELD_OUT + 1


def test_run_stops_after_the_update_in_which_the_time_is_over():
    control = SimpleNamespace(should_training_stop=False, should_save=False)

    train.StopInTime(sitting()).on_step_end(None, None, control)
    assert not control.should_training_stop

    train.StopInTime(sitting(0)).on_step_end(None, None, control)
    assert control.should_training_stop
    assert control.should_save


def test_missing_file_of_problems_gives_one_line(tmp_path, monkeypatch, capsys, tokenizer):
    tokenizer.save_pretrained(tmp_path)
    folders = ["--model", str(tmp_path), "--data", str(tmp_path), "--out", str(tmp_path), "--work", str(tmp_path)]
    monkeypatch.setattr("sys.argv", ["real_model", "train", *folders])

    with pytest.raises(SystemExit) as stopped:
        command.main()

    assert stopped.value.code == 2
    assert "mbpp.jsonl is not there" in capsys.readouterr().err.splitlines()[-1]
