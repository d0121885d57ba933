"""Logs of completions: on the terminal, as parquet, and in experiment trackers."""

from __future__ import annotations

import importlib.machinery
import json
import sys
import types
from pathlib import Path

import pyarrow.parquet
import pytest
import torch
from transformers import TrainerCallback
from transformers.integrations import TensorBoardCallback

from stepcoder_trl.trainer import rollout_log
from tests.integration.helpers import BRANCH, RIGHT, UNPARSABLE, WRONG, parameters


pytestmark = pytest.mark.sandbox


@pytest.fixture
def make(make_trainer, script):
    """Return a function that makes a trainer with scripted completions, which it logs."""

    def make(*texts, **changes):
        script(*(texts or (RIGHT, WRONG, BRANCH, UNPARSABLE)))
        return make_trainer(**{"log_completions": True, "curriculum": "off", "max_steps": 1, **changes})

    return make


def test_completions_of_a_logged_update_are_written_as_parquet(make):
    trainer = make(max_steps=4, logging_steps=2)

    trainer.train()

    folder = Path(trainer.args.output_dir) / "completions"
    assert sorted(path.name for path in folder.iterdir()) == ["completions_00002.parquet", "completions_00004.parquet"]
    rows = pyarrow.parquet.read_table(folder / "completions_00002.parquet").to_pylist()
    assert [row["completion"] for row in rows] == [RIGHT, WRONG, BRANCH, UNPARSABLE]
    assert [row["outcome"] for row in rows] == ["passed", "failed", "failed", "compile_error"]
    assert [row["score"] for row in rows] == pytest.approx([1.0, -0.3, -0.3, -1.0])
    assert [(row["tests_passed"], row["tests_total"]) for row in rows] == [(3, 3), (1, 3), (1, 3), (0, 3)]
    assert [row["kept_share"] == 1.0 for row in rows] == [True, True, False, True]
    assert {row["update"] for row in rows} == {2}
    assert {row["prefix"] for row in rows} == {"def sign(x):"}
    assert {row["stage"] for row in rows} == {0}
    assert rows[0]["prompt"].startswith("Write sign number")


def test_completions_of_a_logged_update_are_printed(make, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")
    make(num_completions_to_print=2).train()

    shown = capsys.readouterr().out

    assert "Completions of update 1" in shown
    for word in ("passed", "score +1", "3 of 3 tests passed", "from scratch", "100% of tokens kept"):
        assert word in shown
    assert "compile_error" in shown  # the last
    assert "BRANCH" not in shown
    assert "x > 99" not in shown  # between the two


def test_without_the_option_nothing_is_printed_or_written(make, capsys):
    trainer = make(log_completions=False)

    trainer.train()

    assert "Completions" not in capsys.readouterr().out
    assert not (Path(trainer.args.output_dir) / "completions").exists()


def test_logging_completions_changes_no_weight(make):
    plain, watched = make(log_completions=False, max_steps=2), make(max_steps=2)

    plain.train()
    watched.train()

    expected = parameters(plain.model)
    assert all(torch.equal(p, expected[name]) for name, p in watched.model.named_parameters())


class Tracker(types.ModuleType):
    """Fake wandb and trackio with the functions that transformers' callbacks and ours call."""

    __version__ = "0.1"

    class Settings(dict):
        def update(self, values, allow_val_change):
            json.dumps(values, default=str)
            super().update(values)

    def __init__(self, name):
        super().__init__(name)
        self.__spec__ = importlib.machinery.ModuleSpec(name, None)
        self.config, self.sent, self.begun, self.finished = self.Settings(), [], 0, 0
        self.run = None
        self.context_vars = types.SimpleNamespace(current_space_id=types.SimpleNamespace(get=lambda: None))

    def init(self, **settings):
        self.begun += 1
        self.run = types.SimpleNamespace(_label=lambda code: None)

    def define_metric(self, *args, **settings):
        pass

    def Table(self, dataframe):
        return dataframe

    def log(self, values, **settings):
        assert self.begun == 1
        self.sent.append(values)

    def finish(self):
        self.finished += 1


@pytest.mark.parametrize("name", ["wandb", "trackio"])
def test_trackers_get_settings_metrics_evaluations_and_tables(make, monkeypatch, problems, name):
    tracker = Tracker(name)
    monkeypatch.setitem(sys.modules, name, tracker)
    parts = types.ModuleType("wandb.sdk.lib.config_util")
    parts.ConfigError = KeyError
    monkeypatch.setitem(sys.modules, "wandb.sdk.lib.config_util", parts)
    keywords = {"eval_dataset": problems[:2]}

    make(report_to=[name], eval_strategy="steps", eval_steps=1, keywords=keywords).train()

    assert (tracker.config["curriculum"], tracker.config["fgo"]) == ("off", "lines")
    (metrics,) = (one for one in tracker.sent if "train/objective/scores" in one)
    assert metrics["train/executor/passed"] == 0.25
    assert any("eval/pass@1" in one for one in tracker.sent)
    (table,) = (one["completions"] for one in tracker.sent if "completions" in one)
    assert table["outcome"].tolist() == ["passed", "failed", "failed", "compile_error"]


def test_programs_are_escaped_for_tensorboard(make):
    class Writer:
        def __init__(self):
            self.texts = []

        def add_text(self, *args):
            self.texts.append(args)

    callback = TensorBoardCallback.__new__(TensorBoardCallback)
    callback.tb_writer = Writer()
    hostile = "\n    return 1\n```\n# <script>\x1b[2J\n"

    rollout_log.send_completions(
        [view(hostile)], update=3, report_to=["tensorboard"], callbacks=[callback, TrainerCallback()]
    )

    ((tag, text, update),) = callback.tb_writer.texts
    assert (tag, update) == ("completions", 3)
    assert "\n    ```\n" in text  # indented, hence code
    assert "\x1b" not in text


def view(completion):
    from stepcoder_trl.reports.rollouts import RolloutView

    return RolloutView("t", "p", "", (completion,), (True,), "failed", -0.3, None, 0, 1)


def test_real_tensorboard_receives_metrics_and_completions(make, tmp_path, problems):
    accumulator = pytest.importorskip(
        "tensorboard.backend.event_processing.event_accumulator", reason="TensorBoard is not installed"
    )
    keywords = {"eval_dataset": problems[:2]}
    trainer = make(report_to=["tensorboard"], eval_strategy="steps", eval_steps=1, keywords=keywords)

    trainer.train()

    callback = next(one for one in trainer.callback_handler.callbacks if isinstance(one, TensorBoardCallback))
    events = accumulator.EventAccumulator(callback.logging_dir)
    events.Reload()
    assert "train/executor/passed" in events.Tags()["scalars"]
    assert "eval/pass@1" in [tag for tag in events.Tags()["scalars"] if tag.startswith("eval")]
    assert any("completions" in tag for tag in events.Tags()["tensors"])


# Completions of the evaluation set


def test_completions_of_problems_are_shown_from_scratch(make, make_trainer, problems, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")
    make_trainer().generate_completions()  # nothing to do, as upstream
    assert capsys.readouterr().out == ""
    trainer = make(RIGHT, WRONG, keywords={"eval_dataset": problems[:2]}, curriculum="paper")

    trainer.generate_completions()

    shown = capsys.readouterr().out
    assert "sign/0" in shown
    assert "sign/1" in shown
    assert "passed" in shown
    assert "failed" in shown


def test_completions_can_be_limited_to_a_batch(make, problems, capsys):
    trainer = make(keywords={"eval_dataset": problems}, per_device_eval_batch_size=2)

    trainer.generate_completions(sampling=True)

    shown = capsys.readouterr().out
    assert "sign/1" in shown
    assert "sign/2" not in shown
