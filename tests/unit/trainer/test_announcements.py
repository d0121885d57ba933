"""What a run says in the terminal."""

from __future__ import annotations

import json
import logging
import re
from types import SimpleNamespace

import pytest
from transformers import PrinterCallback, ProgressCallback, TrainerCallback, TrainerState

from stepcoder_trl.curriculum import CurriculumConfig
from stepcoder_trl.steps.queries import Query
from stepcoder_trl.steps.rows import as_rows
from stepcoder_trl.steps.solutions import SolutionReport
from stepcoder_trl.trainer import announcements
from stepcoder_trl.trainer.announcements import (
    Announcer,
    MetricsFile,
    SFTAnnouncer,
    farewell,
    summary,
    update_line,
)
from stepcoder_trl.trainer.training_set import TrainingSet


PPO = {
    "objective/scores": 0.261,
    "executor/passed": 0.45,
    "curriculum/scratch_share": 0.64,
    "objective/kl": 2.04,
    "fgo/kept_share": 0.97,
    "executor/infrastructure_errors": 0.0,
}


class Trainer(SimpleNamespace):
    """Stand-in for a trainer, which unlike a plain namespace can be referred to weakly."""


@pytest.fixture
def data(problems):
    long = {"task_id": "long", "prompt": "x" * 500, "tests": problems[0].tests}
    rows = as_rows([*(problem.to_row() for problem in problems), long])
    query = lambda row, prefix: Query("", prefix, tuple(range(len(row.prompt) + len(prefix))))  # noqa: E731
    data = TrainingSet(rows, CurriculumConfig(), query, limit=400)
    data.use_solutions(SolutionReport({"sign/0": "failed"}, {}, ["sign/3"]))
    return data


@pytest.fixture
def args(tmp_path):
    level = SimpleNamespace(value=logging.WARNING)
    return SimpleNamespace(
        output_dir=str(tmp_path),
        save_strategy="steps",
        disable_tqdm=True,
        world_size=2,
        level=level,
        get_process_log_level=lambda: level.value,
    )


def state_of(step, total=9, main=True):
    return TrainerState(global_step=step, max_steps=total, save_steps=4, is_world_process_zero=main)


def test_summary_says_what_is_trained_and_what_is_left_out_and_why(data, args):
    args.output_dir = "runs/a"

    assert summary(data, args, state_of(2), "16 completions at a time, of 1 problem x 16") == [
        "Problems     8, and 1 left out: their queries are too long (long)",
        "Solutions    7 usable; 1 failing (sign/0: failed): no curriculum there",
        "Curriculum   paper: 1 with 1 stage, 7 with 2 stages",
        "Tests        of 8 problems, 7 trusted; 1 run inside the program (sign/3)",
        "Updates      9, of which 2 are done; 16 completions at a time, of 1 problem x 16, in 2 processes",
        "Writes to    runs/a: a checkpoint every 4 updates, metrics.jsonl",
    ]


def test_summary_says_that_nothing_is_left_to_train(data, args):
    lines = summary(data, args, state_of(2, total=1), "4 completions at a time")

    assert any("1, of which 2 are done, so nothing is left to train: raise `max_steps`; 4" in line for line in lines)


def test_line_of_an_update_of_ppo_and_grpo():
    grpo = {"reward": -1.0, "executor/passed": 0.0, "kl": -0.001, "executor/infrastructure_errors": 2.0}

    assert update_line(3, 24, PPO, 8.34) == (
        "update 3 of 24: score +0.26, passing 45%, from scratch 64%, KL 2.04, kept 97%, 8.3 s"
    )
    assert update_line(1, 2, grpo, 0.05) == "update 1 of 2: score -1.00, passing 0%, KL 0.00, 2 not run, 0.1 s"


def announce(args, data, logs, main=True):
    """Train with these metrics, one update each."""
    trainer = Trainer(training_set=data)
    announcer = Announcer(trainer, "a batch")
    announcer.on_train_begin(args, state_of(0, main=main), None)
    for step, one in enumerate(logs, 1):
        announcer.on_log(args, state_of(step, main=main), None, logs=one)
        announcer.on_step_end(args, state_of(step, main=main), None)
    announcer.on_train_end(args, state_of(len(logs), main=main), None)


def test_sentence_when_nothing_passes(args, data, capsys):
    announce(args, data, [{**PPO, "executor/passed": 0.0}] * 8)

    lines = capsys.readouterr().out.splitlines()
    (sentence,) = [line for line in lines if line.startswith("No completion")]
    assert "No completion has passed its tests in 5 updates" in sentence
    assert "stepcoder-trl sft" in sentence
    assert sum(line.startswith("update ") for line in lines) == 8


def test_no_sentence_after_a_pass(args, data, capsys):
    announce(args, data, [PPO, *[{**PPO, "executor/passed": 0.0}] * 8])

    assert "No completion" not in capsys.readouterr().out


def test_evaluations_have_a_line_and_other_metrics_none(args, data, capsys):
    rates = {"eval_pass@1": 0.5, "eval_hard_pass@1": 0.25, "eval_pass@8": None}
    announce(args, data, [rates, {"eval_pass@1": None}, {"train_runtime": 3.0}])

    assert capsys.readouterr().out.splitlines()[6:] == ["evaluation after update 1: pass@1 0.500, hard_pass@1 0.250"]


@pytest.mark.parametrize(("main", "level"), [(False, logging.WARNING), (True, logging.ERROR)])
def test_other_processes_and_quiet_runs_say_nothing(args, data, main, level, capsys):
    args.level.value = level

    announce(args, data, [PPO], main)

    assert capsys.readouterr().out == ""


def test_metrics_are_written_and_those_of_repeated_updates_removed(args, tmp_path):
    file = MetricsFile()
    for step in (1, 2, 3):
        file.on_log(args, state_of(step), None, logs={"score": step})
    file.on_log(args, state_of(3, main=False), None, logs={"score": 9})

    file.on_train_begin(args, state_of(2), None)
    file.on_log(args, state_of(3), None, logs={"score": 4})

    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert rows == [{"step": 1, "score": 1}, {"step": 2, "score": 2}, {"step": 3, "score": 4}]


def test_new_run_adds_to_metrics_that_it_finds(args, tmp_path):
    path, file = tmp_path / "metrics.jsonl", MetricsFile()
    path.write_text('{"step": 7, "of": "somebody"}\n')

    file.on_train_begin(args, state_of(0), None)
    file.on_log(args, state_of(1), None, logs={"score": 1})

    assert path.read_text() == '{"step": 7, "of": "somebody"}\n{"step": 1, "score": 1}\n'


def test_metrics_with_a_line_that_was_cut_off_are_gone_on_with(args, tmp_path):
    path, file = tmp_path / "metrics.jsonl", MetricsFile()
    path.write_text('{"step": 1, "score": 1}\n[1]\n{"score": 2}\n{"step": 2, "sco')

    file.on_train_begin(args, state_of(1), None)
    file.on_log(args, state_of(2), None, logs={"score": 3})

    assert path.read_text() == '{"step": 1, "score": 1}\n{"step": 2, "score": 3}\n'


def test_callback_of_the_caller_stays():
    class Own(ProgressCallback):
        pass

    given = [PrinterCallback(), Own(), PrinterCallback()]
    handler = SimpleNamespace(callbacks=list(given))
    callbacks = {"remove_callback": handler.callbacks.remove, "add_callback": handler.callbacks.append}
    trainer = Trainer(callback_handler=handler, run_report=TrainerCallback(), **callbacks)

    announcements.add_callbacks(trainer, 16, 8)

    assert handler.callbacks[:2] == given[:2]
    assert [type(one) for one in handler.callbacks[2:]] == [TrainerCallback, MetricsFile, Announcer]


@pytest.mark.parametrize(
    ("total", "shown", "said"), [(500, True, "Running 500 canonical solutions.\n"), (500, False, ""), (5, True, "")]
)
def test_many_solutions_are_announced_outside_a_terminal(total, shown, said, capsys):
    with announcements.solutions_bar(total, shown) as advance:
        advance(total)

    assert capsys.readouterr() == (said, "")


def test_farewell_says_where_everything_lies_and_what_is_next(tmp_path):
    (tmp_path / "checkpoint-4").mkdir()
    (tmp_path / "report.html").touch()

    assert farewell(str(tmp_path), ["stepcoder-trl", "evaluate", "--model", "my runs"]) == [
        f"The model is in {tmp_path}/.",
        f"Checkpoints: {tmp_path}/checkpoint-*, the newest is checkpoint-4.",
        f"Page of the run: {tmp_path}/report.html.",
        "Next: stepcoder-trl evaluate --model 'my runs'",
    ]


def test_fine_tuning_prints_a_line_per_log(args, capsys):
    args.train_batch_size, args.gradient_accumulation_steps = 8, 4
    announcer, control = SFTAnnouncer(100, 3), None
    state = state_of(0)
    state.num_train_epochs = 3
    announcer.on_train_begin(args, state, control)
    announcer.on_log(args, state_of(2), control, {"loss": 1.2345, "mean_token_accuracy": 0.5})
    announcer.on_log(args, state_of(9), control, {"train_runtime": 3.0, "train_loss": 1.0})

    lines = capsys.readouterr().out.splitlines()
    assert lines[:2] == [
        "Solutions    100; problems left out: 3",
        "Steps        9; 64 solutions each, 3 epochs, in 2 processes",
    ]
    assert re.fullmatch(r"step 2 of 9: loss 1\.234, 50% of the tokens predicted right, \d+\.\d s a step", lines[3])
    assert len(lines) == 4
