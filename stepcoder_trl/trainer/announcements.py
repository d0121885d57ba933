"""
What a run says in the terminal: a summary before the first update, a line per update, and where everything lies.

Only the first process speaks, and with `log_level` error or critical none. All metrics go to trackers, to
`trainer_state.json` and to `metrics.jsonl` in `output_dir`.
"""

from __future__ import annotations

import json
import logging
import shlex
import sys
import time
import weakref
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tqdm.auto import tqdm
from transformers import PrinterCallback, ProgressCallback, TrainerCallback, TrainerControl, TrainerState
from transformers.trainer import DEFAULT_PROGRESS_CALLBACK
from transformers.trainer_utils import SaveStrategy

from stepcoder_trl.curriculum import Curriculum
from stepcoder_trl.jsonl import whole_rows, write_rows
from stepcoder_trl.steps.rows import PromptRow
from stepcoder_trl.steps.solutions import SolutionReport
from stepcoder_trl.trainer.report_guard import ReportGuard


if TYPE_CHECKING:
    from stepcoder_trl.trainer.grpo_trainer import StepCoderGRPOTrainer
    from stepcoder_trl.trainer.ppo_trainer import StepCoderPPOTrainer
    from stepcoder_trl.trainer.training_set import TrainingSet

METRICS = "metrics.jsonl"
PATIENCE = 5  # updates without a pass, after which a sentence says so
MANY = 100  # solutions that take so long that a line says so
_SHOWN = 5  # names in a list
_DEFAULTS = (PrinterCallback, ProgressCallback, DEFAULT_PROGRESS_CALLBACK)


def say(text: str) -> None:
    """Print a text at once, above the progress bars."""
    tqdm.write(text)
    sys.stdout.flush()


def speaks(args: Any) -> bool:
    """Whether a configuration lets the run speak: not with `log_level` error or critical."""
    return bool(args.get_process_log_level() <= logging.WARNING)


def add_callbacks(trainer: StepCoderPPOTrainer | StepCoderGRPOTrainer, size: int, num_generations: int) -> None:
    """
    Add the report of the run, and print lines in place of all metrics, which are written to a file.

    `size` completions are sampled at a time, `num_generations` of each problem.
    """
    trainer.add_callback(trainer.run_report)
    defaults = [one for one in trainer.callback_handler.callbacks if type(one) in _DEFAULTS]
    for callback in defaults[-1:]:  # the last is that of the trainer, others are of its caller
        trainer.remove_callback(callback)
    trainer.add_callback(MetricsFile())
    trainer.add_callback(Announcer(trainer, batch_text(size, num_generations)))


@contextmanager
def solutions_bar(total: int, shown: bool) -> Iterator[Callable[[int], object]]:
    """Yield a function that advances a progress bar of canonical solutions. Outside a terminal a line says it."""
    if shown and total >= MANY and not sys.stderr.isatty():
        say(f"Running {total} canonical solutions.")
    with tqdm(total=total, desc="canonical solutions", disable=None if shown else True) as bar:
        yield bar.update


class MetricsFile(TrainerCallback):
    """Appends what is logged to `metrics.jsonl`, one object per log."""

    def __init__(self) -> None:
        self._guard = ReportGuard()

    def on_train_begin(self, args: Any, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Remove the logs of updates that will be repeated. A new run repeats none, and keeps what it finds."""
        path = Path(args.output_dir) / METRICS
        if state.is_world_process_zero and state.global_step > 0 and path.is_file():
            with self._guard.tolerant():
                rows = [row for row in whole_rows(path) if isinstance(row.get("step"), int)]
                write_rows(path, [row for row in rows if row["step"] <= state.global_step])

    def on_log(
        self, args: Any, state: TrainerState, control: TrainerControl, logs: dict[str, Any] | None = None, **_: Any
    ) -> None:
        """Append what is logged."""
        if state.is_world_process_zero and logs:
            path = Path(args.output_dir) / METRICS
            with self._guard.tolerant():
                path.parent.mkdir(parents=True, exist_ok=True)
                with path.open("a", encoding="utf-8") as stream:
                    stream.write(json.dumps({"step": state.global_step, **logs}, default=str) + "\n")


class Announcer(PrinterCallback):
    """
    Prints a summary before the first update, a line after each, and a sentence when nothing passes.

    It is a `PrinterCallback`, so that scripts which remove that one silence it.
    """

    def __init__(self, trainer: StepCoderPPOTrainer | StepCoderGRPOTrainer, batch: str) -> None:
        # A strong reference would keep a dropped trainer, with its models, until the next garbage collection.
        self.trainer: StepCoderPPOTrainer | StepCoderGRPOTrainer = weakref.proxy(trainer)
        self.batch, self.speaks = batch, False
        self._bar: tqdm[Any] | None = None

    def on_train_begin(self, args: Any, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Print the summary."""
        self.speaks = state.is_world_process_zero and speaks(args)
        self._begun_at = self._logged_at = state.global_step
        self._logged_s, self._passed, self._warned = time.perf_counter(), False, False
        if self.speaks:
            say("\n".join(summary(self.trainer.training_set, args, state, self.batch)))
            self._bar = tqdm(
                total=state.max_steps,
                initial=state.global_step,
                desc="updates",
                dynamic_ncols=True,
                disable=True if args.disable_tqdm else None,
            )

    def on_log(
        self, args: Any, state: TrainerState, control: TrainerControl, logs: dict[str, Any] | None = None, **_: Any
    ) -> None:
        """Print the line of an update or of an evaluation."""
        if not self.speaks or not logs:
            return
        step, now = state.global_step, time.perf_counter()
        if score_of(logs) is not None:
            seconds = (now - self._logged_s) / max(1, step - self._logged_at)
            say(update_line(step, state.max_steps, logs, seconds))
            self._note_passes(step, logs)
            self._logged_at = step
        elif line := evaluation_line(step, logs):
            say(line)
        self._logged_s = now  # the time of an evaluation is not that of the next update

    def _note_passes(self, step: int, logs: Mapping[str, Any]) -> None:
        number = step - self._begun_at
        passed = logs.get("executor/passed")
        self._passed |= passed is None or passed > 0
        if not self._passed and not self._warned and number >= PATIENCE:
            self._warned = True
            say(
                f"No completion has passed its tests in {number} updates: the model has little to learn from. "
                "Fine-tune it on solutions first: `stepcoder-trl sft`."
            )

    def on_step_end(self, args: Any, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Advance the progress bar."""
        if self._bar is not None:
            self._bar.update(state.global_step - self._bar.n)

    def on_train_end(self, args: Any, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Close the progress bar."""
        if self._bar is not None:
            self._bar.close()
        self._bar, self.speaks = None, False


class SFTAnnouncer(PrinterCallback):
    """
    Prints a summary before the first step of fine-tuning, and a line at each log.

    Args:
        num_solutions (`int`): Number of solutions that are trained on.
        num_left_out (`int`): Number of problems without a solution that can be learnt from.
    """

    def __init__(self, num_solutions: int, num_left_out: int) -> None:
        self.num_solutions, self.num_left_out = num_solutions, num_left_out
        self._logged_at, self._logged_s = 0, 0.0

    def on_train_begin(self, args: Any, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Print the summary."""
        self._logged_at, self._logged_s = state.global_step, time.perf_counter()
        if state.is_world_process_zero and speaks(args):
            left_out = f"; problems left out: {self.num_left_out}" if self.num_left_out else ""
            size = args.train_batch_size * args.gradient_accumulation_steps * args.world_size
            done, each = _done(state), f"{size} solutions each, {state.num_train_epochs} epochs"
            say(f"Solutions    {self.num_solutions}{left_out}")
            say(f"Steps        {state.max_steps}{done}; {each}, {_processes(args)}")
            say(f"Writes to    {args.output_dir}: {METRICS}, checkpoints and the model")

    def on_log(
        self, args: Any, state: TrainerState, control: TrainerControl, logs: dict[str, Any] | None = None, **_: Any
    ) -> None:
        """Print the line of a log."""
        if state.is_world_process_zero and speaks(args) and logs and "loss" in logs:
            now, step = time.perf_counter(), state.global_step
            say(step_line(step, state.max_steps, logs, (now - self._logged_s) / max(1, step - self._logged_at)))
            self._logged_at, self._logged_s = step, now


def step_line(step: int, total: int, logs: Mapping[str, Any], seconds: float) -> str:
    """Return the line of a step of fine-tuning: loss, tokens that were predicted right, and seconds per step."""
    parts = [
        f"loss {logs['loss']:.3f}",
        *(f"{value:.0%} of the tokens predicted right" for value in _given(logs, "mean_token_accuracy")),
        f"{seconds:.1f} s a step",
    ]
    return f"step {step} of {total}: {', '.join(parts)}"


def add_sft_callbacks(trainer: Any, num_solutions: int, num_left_out: int) -> None:
    """Print lines in place of all metrics of TRL's `SFTTrainer`, and write the metrics to a file."""
    for callback in [one for one in trainer.callback_handler.callbacks if type(one) in _DEFAULTS]:
        trainer.remove_callback(callback)
    trainer.add_callback(MetricsFile())
    trainer.add_callback(SFTAnnouncer(num_solutions, num_left_out))


# Lines of updates


def score_of(logs: Mapping[str, Any]) -> float | None:
    """Return the mean score in the metrics of an update of PPO or GRPO. `None` in other metrics."""
    return logs.get("objective/scores", logs.get("reward"))


def update_line(step: int, total: int, logs: Mapping[str, Any], seconds: float) -> str:
    """Return the line of an update: score, shares of completions, KL divergence and seconds."""
    kl = logs.get("objective/kl", logs.get("kl"))
    parts = [
        f"score {score_of(logs) or 0.0:+.2f}",
        *(f"passing {value:.0%}" for value in _given(logs, "executor/passed")),
        *(f"from scratch {value:.0%}" for value in _given(logs, "curriculum/scratch_share")),
        *([] if kl is None else [f"KL {round(kl, 2) + 0.0:.2f}"]),
        *(f"kept {value:.0%}" for value in _given(logs, "fgo/kept_share")),
        *(f"{value:.0f} not run" for value in _given(logs, "executor/infrastructure_errors") if value),
        f"{seconds:.1f} s",
    ]
    return f"update {step} of {total}: {', '.join(parts)}"


def evaluation_line(step: int, logs: Mapping[str, Any]) -> str | None:
    """Return the line of an evaluation: its pass rates. `None` for other metrics, and without tests."""
    rates = {name: value for name, value in logs.items() if name.startswith("eval_") and "pass@" in name}
    known = {name: value for name, value in rates.items() if value is not None}
    found = ", ".join(f"{name.removeprefix('eval_')} {value:.3f}" for name, value in known.items())
    return f"evaluation after update {step}: {found}" if found else None


def _given(logs: Mapping[str, Any], name: str) -> list[float]:
    return [logs[name]] if logs.get(name) is not None else []


# Summary


def summary(data: TrainingSet, args: Any, state: TrainerState, batch: str) -> list[str]:
    """Return the lines about what will be trained: problems, solutions, stages, tests, updates and files."""
    lines = [problems_line(data)]
    if data.report is not None and data.has_problems:
        lines += [solutions_line(data.given, data.report), curriculum_line(data.rows, data.curriculum)]
    if data.has_tests:
        lines.append(tests_line(data.rows))
    lines.append(f"Updates      {state.max_steps}{_done(state)}; {batch}, {_processes(args)}")
    every = "update" if state.save_steps == 1 else f"{state.save_steps} updates"
    often = f"a checkpoint every {every}" if state.save_steps > 0 else "a checkpoint at the end"
    saves = {"no": "no checkpoints", "steps": often}
    strategy = SaveStrategy(args.save_strategy).value
    lines.append(f"Writes to    {args.output_dir}: {saves.get(strategy, f'checkpoints ({strategy})')}, {METRICS}")
    return lines


def _processes(args: Any) -> str:
    return f"in {args.world_size} process{'es' * (args.world_size > 1)}"


def _done(state: TrainerState) -> str:
    """Return how many of a run's updates are done, empty at the beginning."""
    if not state.global_step:
        return ""
    ended = ", so nothing is left to train: raise `max_steps`" if state.global_step >= state.max_steps else ""
    return f", of which {state.global_step} are done{ended}"


def problems_line(data: TrainingSet) -> str:
    """Return the number of problems, and which are left out."""
    used, left_out = len(data.rows), data.left_out
    if not left_out:
        return f"Problems     {used}"
    return f"Problems     {used}, and {len(left_out)} left out: their queries are too long ({_names(left_out)})"


def solutions_line(rows: Sequence[PromptRow], report: SolutionReport) -> str:
    """Return how many canonical solutions pass, and which problems have no curriculum for lack of one."""
    failing = [f"{task_id}: {outcome}" for task_id, outcome in report.failing.items()]
    without = [row.task_id for row in rows if not row.canonical_solution.strip()]
    passing = len(rows) - len(failing) - len(without)
    parts = [f"{len(failing)} failing ({_names(failing)})"] if failing else []
    parts += [f"{len(without)} missing ({_names(without)})"] if without else []
    reason = f"; {' and '.join(parts)}: no curriculum there" if parts else ""
    return f"Solutions    {passing} usable{reason}"


def curriculum_line(rows: Sequence[PromptRow], curriculum: Curriculum | None) -> str:
    """Return how many problems have how many stages."""
    if curriculum is None or curriculum.config.mode == "off":
        return "Curriculum   off: every problem is written from scratch"
    counts = Counter(len(curriculum.stages(row.task_id)) for row in rows)
    parts = [f"{number} with {stages} stage{'s' * (stages > 1)}" for stages, number in sorted(counts.items())]
    return f"Curriculum   {curriculum.config.mode}: {', '.join(parts)}"


def tests_line(rows: Sequence[PromptRow]) -> str:
    """Return how many problems have tests, and for how many a program could forge the verdict."""
    tests = {row.task_id: row.tests for row in rows if row.tests is not None}
    untrusted = [task_id for task_id, one in tests.items() if one.get("trusted") is False]
    text = f"Tests        of {len(tests)} problems, {len(tests) - len(untrusted)} trusted"
    return f"{text}; {len(untrusted)} run inside the program ({_names(untrusted)})" if untrusted else text


def batch_text(size: int, num_generations: int) -> str:
    """Return how many completions are sampled together, in words."""
    problems = size / num_generations
    return f"{size} completions at a time, of {problems:g} problem{'s' * (problems != 1)} x {num_generations}"


def _names(names: Sequence[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (", ..." if len(names) > _SHOWN else "")


# After training


def farewell(output_dir: str, next_command: Sequence[str]) -> list[str]:
    """Return where model, checkpoints, page and metrics of a run lie, and what to type next."""
    folder = Path(output_dir)
    lines = [f"The model is in {folder}/."]
    found = sorted(folder.glob("checkpoint-*"), key=lambda path: path.stat().st_mtime)
    if found:
        lines.append(f"Checkpoints: {folder}/checkpoint-*, the newest is {found[-1].name}.")
    if (folder / "report.html").is_file():
        lines.append(f"Page of the run: {folder}/report.html.")
    return [*lines, f"Next: {shlex.join(next_command)}"]
