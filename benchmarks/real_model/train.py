"""
Training with LoRA on problems that the model hardly solves, and evaluation on problems that are held out.

The held-out problems are the first of the fixed order. Of the others, those are trained on that pass from scratch in
at most 1 of 8 samples, which is measured first. Each pair of seed and arm is a training run in a process of its own,
with one thread, that writes checkpoints. The arms of a seed have the same initial weights, problems, order, number and
length of completions. Everything goes on where it stopped, and a larger `--updates` extends the runs.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import random
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from benchmarks.real_model.problems import Task
from benchmarks.real_model.sitting import Sitting, TimeIsOver
from benchmarks.real_model.stages import Measurement, Row, SampleFile, measure_all
from stepcoder_trl.jsonl import write_rows


ARMS: dict[str, dict[str, Any]] = {
    "baseline": {"curriculum": "off", "fgo": "off"},
    "mean": {"curriculum": "off", "fgo": "off", "score_tests": "mean"},
    "stepcoder": {
        "curriculum": "paper",
        "curriculum_start": "measured",
        "score_tests": "mean",
        "fgo": "tests",
        "prefix_imitation": 0.2,
    },
}
SEEDS = (0, 1, 2)
HELD_OUT = 64
PROBLEMS = 16  # of a seed
POOL = 32  # problems to draw them from
SCRATCH_SAMPLES, MOST_PASSES = 8, 1
EVALUATION_SAMPLES = 2  # of a problem
LORA_RANK = 16
# An update takes four completions of two problems each. The learning rate is constant: runs may be taken further.
RECIPE: dict[str, Any] = {
    "learning_rate": 1e-4,
    "lr_scheduler_type": "constant",
    "per_device_train_batch_size": 4,
    "gradient_accumulation_steps": 2,
    "num_generations": 4,
}
BY_TRAINER: dict[str, dict[str, Any]] = {"ppo": {"value_learning_rate": 3e-4}, "grpo": {}}
FIXED = ("model", "data", "trainer", "dtype", "new_tokens")  # arguments that a folder of runs has once


# Problems


def held_out_and_candidates(tasks: Sequence[Task]) -> tuple[Sequence[Task], Sequence[Task]]:
    """Return the problems that are held out, and those that may be trained on."""
    return tasks[:HELD_OUT], tasks[HELD_OUT:]


def hard_problems(rows: Sequence[Row]) -> list[str]:
    """Return the names of the first problems that hardly ever pass from scratch, in the order of measurement."""
    found = [row["task_id"] for row in rows if "stages" in row and _is_hard(row["stages"][-1]["outcomes"])]
    return found[:POOL]


def _is_hard(outcomes: Sequence[str | None]) -> bool:
    return None not in outcomes and outcomes.count("passed") <= MOST_PASSES


def find_hard_problems(
    candidates: Sequence[Task], file: SampleFile, measurement: Measurement, batch_size: int, sitting: Sitting
) -> list[str]:
    """Sample candidates from scratch until enough of them are hard, and return these. The file keeps the samples."""
    if len(hard_problems(file.rows)) < POOL:
        for _ in measure_all(candidates, file, measurement, batch_size, sitting.left_s()):
            print(f"{len(hard_problems(file.rows))} of {POOL} problems found", flush=True)
            if len(hard_problems(file.rows)) >= POOL:
                break
        else:
            if len(file.rows) < len(candidates):
                raise TimeIsOver
    return hard_problems(file.rows)


def training_problems(hard: Sequence[str], seed: int) -> list[str]:
    """Draw the training problems of a seed."""
    return random.Random(seed).sample(list(hard), min(PROBLEMS, len(hard)))


# One training run, in a process of its own


class StopInTime(TrainerCallback):
    """Ends training, with a checkpoint, after the update in which the time is over."""

    def __init__(self, sitting: Sitting) -> None:
        self.sitting = sitting

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Look at the time."""
        try:
            self.sitting.left_s()
        except TimeIsOver:
            control.should_training_stop = control.should_save = True


def train_one(arguments: argparse.Namespace, problems: Path, arm: str, seed: int, sitting: Sitting) -> None:
    """Train one arm of one seed up to `--updates`, or until the time is over."""
    import torch
    from trl import ModelConfig

    from stepcoder_trl import StepCoderGRPOConfig, StepCoderPPOConfig
    from stepcoder_trl.trainer.entry import PPOScriptArguments, run_grpo, run_ppo

    folder = run_folder(arguments.work, seed, arm)
    shared: dict[str, Any] = {
        "output_dir": str(folder),
        "overwrite_output_dir": True,  # one that was stopped before its first checkpoint is begun anew
        "seed": seed,
        "max_steps": arguments.updates,
        "logging_steps": 1,
        "save_steps": 1,
        "save_total_limit": 1,
        "gradient_checkpointing": False,
        "use_cpu": not torch.cuda.is_available(),
        "bf16": False,  # of the frozen weights alone: autocast would convert them again for every token
        "report_to": "none",
        "disable_tqdm": True,
        "executor_workers": 1,
        "resume_from_checkpoint": "true" if any(folder.glob("checkpoint-*")) else None,
        **RECIPE,
        **BY_TRAINER[arguments.trainer],
        **ARMS[arm],
    }
    script = PPOScriptArguments(problems=[str(problems)], prompt_style="chat")
    model = ModelConfig(arguments.model, use_peft=True, lora_r=LORA_RANK, dtype=arguments.dtype)
    callbacks: list[TrainerCallback] = [StopInTime(sitting)]
    if arguments.trainer == "ppo":
        run_ppo(script, StepCoderPPOConfig(response_length=arguments.new_tokens, **shared), model, None, callbacks)
    else:
        config = StepCoderGRPOConfig(max_completion_length=arguments.new_tokens, **shared)
        run_grpo(script, config, model, None, callbacks)


# All runs


def run_folder(work: Path, seed: int, arm: str) -> Path:
    """Return the folder of a run."""
    return work / f"seed{seed}" / arm


def evaluation_folder(work: Path, seed: int, arm: str, updates: int) -> Path:
    """Return the folder of an evaluation."""
    return work / f"seed{seed}" / f"{arm}-evaluated-{updates}"


def is_evaluated(folder: Path) -> bool:
    """Return whether an evaluation is complete."""
    return (folder / "summary.json").exists()


def check_settings(arguments: argparse.Namespace) -> None:
    """Write the settings of the runs to the folder. Exit if earlier runs had other settings."""
    current = {name: str(getattr(arguments, name)) for name in FIXED}
    current["recipe"] = json.dumps({**RECIPE, **BY_TRAINER[arguments.trainer], "lora_rank": LORA_RANK, "arms": ARMS})
    path = arguments.work / "settings.json"
    earlier = json.loads(path.read_text(encoding="utf-8")) if path.exists() else current
    for name, value in current.items():
        if value != earlier.get(name):
            setting = "another recipe" if name == "recipe" else f"--{name} {earlier.get(name)}"
            raise SystemExit(f"{arguments.work} was begun with {setting}. Name another --work.")
    arguments.work.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(current, indent=2) + "\n", encoding="utf-8")


def train_all(arguments: argparse.Namespace, tasks: Sequence[Task], hard: Sequence[str], sitting: Sitting) -> None:
    """Train and evaluate the unfinished runs, one after the other. Raises `TimeIsOver` if there is more to do."""
    held_out, candidates = held_out_and_candidates(tasks)
    known = {task.row.task_id: task for task in candidates}
    everything = [*held_out, *(known[name] for name in hard)]
    evaluate(arguments, arguments.model, arguments.work / "initial", everything, sitting)
    for seed, arm in itertools.product(SEEDS, arguments.arms):
        chosen = [known[name] for name in training_problems(hard, seed)]
        problems = write_problems(arguments.work / f"seed{seed}" / "problems.jsonl", chosen)
        folder, goal = run_folder(arguments.work, seed, arm), arguments.updates
        if updates(folder) > goal:
            raise SystemExit(f"{folder} has {updates(folder)} updates, but --updates is {goal}. Pass at least these.")
        if updates(folder) < goal:
            one = ("--minutes", str(sitting.left_s() / 60), "--one", arm, str(seed), str(problems))
            call("-m", "benchmarks.real_model", *sys.argv[1:], *one, sitting=sitting)
            if updates(folder) < goal:
                raise TimeIsOver
        # Evaluate the checkpoint: a later command may continue the run.
        out = evaluation_folder(arguments.work, seed, arm, goal)
        evaluate(arguments, str(folder / f"checkpoint-{goal}"), out, [*held_out, *chosen], sitting)


def write_problems(path: Path, tasks: Sequence[Task]) -> Path:
    """Write the rows of problems."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_rows(path, [dict(task.row.columns) for task in tasks])
    return path


def evaluate(arguments: argparse.Namespace, model: str, out: Path, tasks: Sequence[Task], sitting: Sitting) -> None:
    """Sample problems from scratch at the paper's temperature 0.2 and top-p 0.95, if that is not done."""
    if is_evaluated(out):
        return
    rows = write_problems(out.with_name(f"{out.name}.jsonl"), tasks)
    settings = ("--num-samples", str(EVALUATION_SAMPLES), "--max-new-tokens", str(arguments.new_tokens))
    drawing = (*settings, "--batch-size", "16", "--dtype", arguments.dtype)
    files = ("--model", model, "--problems", str(rows), "--out", str(out))
    call("-m", "stepcoder_trl", "evaluate", *files, *drawing, sitting=sitting, ends_at_once=True)


def call(*command: str, sitting: Sitting, ends_at_once: bool = False) -> None:
    """
    Run Python with one thread. It prints to this terminal.

    One that `ends_at_once` is killed when the time is over. Another one looks at the time itself.
    """
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    left_s = sitting.left_s()
    try:
        subprocess.run(
            [sys.executable, *command], check=True, env=environment, timeout=left_s if ends_at_once else None
        )
    except subprocess.TimeoutExpired:
        raise TimeIsOver from None


def history(folder: Path) -> list[dict[str, Any]]:
    """Return the log of a run's newest checkpoint."""
    states = list(folder.glob("checkpoint-*/trainer_state.json"))
    if not states:
        return []
    newest = max(states, key=lambda path: int(path.parent.name.removeprefix("checkpoint-")))
    log: list[dict[str, Any]] = json.loads(newest.read_text(encoding="utf-8"))["log_history"]
    return log


def updates(folder: Path) -> int:
    """Return the number of updates of a run."""
    return max((entry["step"] for entry in history(folder)), default=0)
