"""One run: an arm trains on the problems of a seed, and is evaluated from scratch in between."""

from __future__ import annotations

import argparse
import itertools
import os
import platform
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from transformers import TrainerCallback, set_seed

from benchmarks.ablation.files import write_json
from benchmarks.ablation.material import Material, prepare
from benchmarks.ablation.settings import ARMS, BY_GRPO, IMITATION, SETTINGS, Job, Setting
from benchmarks.ablation.trainers import (
    Measures,
    cpu_seconds,
    make_grpo_trainer,
    make_ppo_trainer,
    unexecuted_share,
)
from stepcoder_trl import CodeExecutor, ExecutorConfig, StepCoderPPOTrainer
from stepcoder_trl.evaluation import evaluate_pass_at_1
from stepcoder_trl.quickstart.problems import Demonstration
from stepcoder_trl.quickstart.tiny_model import SFTConfig, SFTStep, fine_tune
from stepcoder_trl.steps.rows import PromptRow
from stepcoder_trl.versions import versions


START_BATCHES = 16  # of the size of an update, for measuring the fine-tuned model


def sample(trainer: StepCoderPPOTrainer, rows: Sequence[PromptRow]) -> tuple[float, float]:
    """Sample completions and run them. Return the share that passes and the share of unexecuted tokens."""
    rollout = trainer.generate_rollout(trainer.draw_samples(rows))
    feedback = trainer.collect_feedback(trainer.submit_programs(rollout))
    outcomes = [execution.outcome for execution in feedback.executions if execution is not None]
    unexecuted = unexecuted_share(rollout.completions, feedback.executions)
    return fmean(outcome == "passed" for outcome in outcomes), unexecuted


class StopAfter(TrainerCallback):
    """Ends training after a step, without changing its schedules."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Stop after the step."""
        control.should_training_stop |= state.global_step >= self.step


class Evaluator(TrainerCallback):
    """Evaluates the policy at intervals: greedy, from scratch, under all tests."""

    def __init__(self, setting: Setting, material: Material, executor: CodeExecutor) -> None:
        self.setting, self.material, self.executor = setting, material, executor
        self.points: list[dict[str, float]] = []
        self.steps = 1  # of an update, as the trainer counts them
        self.begun = 0  # updates before the trainer's first

    def evaluate(self, update: int) -> None:
        """Add a point to the learning curve."""
        point: dict[str, float] = {"update": update, "rollouts": update * self.setting.rollouts_per_update}
        for name, problems in self.material.evaluated.items():
            evaluation = evaluate_pass_at_1(
                self.material.model,
                self.material.tokenizer,
                problems,
                self.executor,
                max_new_tokens=self.material.response_length,
                temperature=0.0,
                batch_size=128,
            )
            if evaluation.infrastructure_errors:
                raise RuntimeError(f"{evaluation.infrastructure_errors} programs could not be run. Run it again.")
            point[name] = evaluation.pass_at_1
        self.points.append(point)
        print(point, flush=True)  # to the log of the run

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Evaluate if an update has ended and an evaluation is due."""
        if state.global_step % self.steps == 0:
            self.after(self.begun + state.global_step // self.steps)

    def after(self, update: int) -> None:
        """Evaluate if an evaluation is due after this update. The last update always has one."""
        if update % self.setting.evaluate_every == 0 or update == self.setting.last_update:
            self.evaluate(update)


def run(job: Job, folder: Path) -> dict[str, Any]:
    """
    Do one run of the grid.

    Return `points` (the learning curve), `updates` (the metrics of training), `imitated` (those of fine-tuning before
    it), `sft`, the identity of the run, and its cost. The arm that does not train has `start`: shares of its
    completions from scratch.
    """
    setting, arm = job.setting, ARMS[job.arm]
    begun_s = time.perf_counter()
    material = prepare(setting, job.seed, folder)
    imitated: list[dict[str, float]] = []
    history: list[dict[str, float]] = []
    start: dict[str, dict[str, float]] = {}
    with CodeExecutor(ExecutorConfig(num_workers=1, timeout_s=1.0)) as executor:
        evaluator = Evaluator(setting, material, executor)
        if arm.learns_from == "nothing":
            evaluator.evaluate(0)
            start = {"start": _start(job, material, executor)}
        elif arm.learns_from == "solutions":
            history = _imitate(job, material, evaluator, setting.last_update)
        else:
            if arm.imitates_first:
                imitated = _imitate(job, material, evaluator, arm.imitates_first)
            evaluator.begun = len(imitated)
            history = _train(job, material, executor, evaluator)
    return {
        "job": job.name,
        "setting": setting.name,
        "arm": job.arm,
        "seed": job.seed,
        "points": _with_cpu_seconds(evaluator.points, [*imitated, *history]),
        **({"imitated": imitated} if imitated else {}),
        "updates": history,
        "sft": material.sft,
        "material": material.digest,
        **start,
        "wall_s": round(time.perf_counter() - begun_s, 1),
        "cpu_s": round(cpu_seconds(), 1),
        "machine": f"{platform.platform()}, {os.cpu_count()} cores",
        "versions": versions(),
    }


def _train(job: Job, material: Material, executor: CodeExecutor, evaluator: Evaluator) -> list[dict[str, float]]:
    """Train and evaluate. Return the metrics of each update."""
    with tempfile.TemporaryDirectory() as folder:
        make = make_grpo_trainer if job.arm in BY_GRPO else make_ppo_trainer
        trainer = make(job, ARMS[job.arm], material, executor, folder)
        measures = Measures(trainer)
        evaluator.steps = measures.steps
        trainer.add_callback(measures)
        trainer.add_callback(evaluator)
        trainer.add_callback(StopAfter((job.setting.last_update - evaluator.begun) * measures.steps))
        trainer.train()
    return measures.history()


def _imitate(job: Job, material: Material, evaluator: Evaluator, updates: int) -> list[dict[str, float]]:
    """Fine-tune on the training problems' canonical solutions and evaluate. Return loss and seconds of each update."""
    solutions = (
        Demonstration(str(problem.prompt), problem.starter_code, problem.canonical_solution, 0.0)
        for problem in itertools.cycle(problem for problem in material.training if problem.canonical_solution)
    )
    settings = SFTConfig(
        num_steps=updates,
        batch_size=job.setting.rollouts_per_update,
        warmup_steps=1,
        batches_sorted_together=1,
        **IMITATION,
    )
    history = []
    begun_s = cpu_seconds()

    def on_step(step: SFTStep) -> None:
        nonlocal begun_s
        history.append({"loss": round(step.loss, 6), "cpu_s": round(cpu_seconds() - begun_s, 6)})
        material.model.eval()
        evaluator.after(step.step)
        material.model.train()
        begun_s = cpu_seconds()

    fine_tune(material.model, material.tokenizer, solutions, settings, on_step)
    return history


def _start(job: Job, material: Material, executor: CodeExecutor) -> dict[str, float]:
    """Return shares of the fine-tuned model's completions from scratch under the tests for training."""
    with tempfile.TemporaryDirectory() as folder:
        trainer = make_ppo_trainer(job, ARMS["ppo"], material, executor, folder)
        set_seed(job.seed)
        batches = itertools.islice(trainer.get_train_dataloader(), START_BATCHES)
        passing, unexecuted = zip(*(sample(trainer, rows) for rows in batches), strict=True)
    return {"pass_rate": round(fmean(passing), 6), "unexecuted_share": round(fmean(unexecuted), 6)}


def _with_cpu_seconds(points: list[dict[str, float]], history: list[dict[str, float]]) -> list[dict[str, float]]:
    """Add the CPU seconds of training so far to the points of the learning curve."""
    return [
        {**point, "cpu_s": round(sum(entry["cpu_s"] for entry in history[: int(point["update"])]), 2)}
        for point in points
    ]


def main() -> None:
    """Do one run in this process and write its result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--setting", choices=SETTINGS, required=True)
    parser.add_argument("--arm", choices=ARMS, required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--work", type=Path, required=True)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    job = Job(SETTINGS[arguments.setting], arguments.arm, arguments.seed)
    write_json(job.path(arguments.work), run(job, arguments.work))


if __name__ == "__main__":
    main()
