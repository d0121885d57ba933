"""Log of completions: on the terminal, in parquet files and in the tables of experiment trackers."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import gather_object
from rich.console import Console
from transformers.integrations import TensorBoardCallback

from stepcoder_trl.reports.completions import completion_columns, completions_markdown, write_completions
from stepcoder_trl.reports.rollouts import RolloutView
from stepcoder_trl.reports.terminal import evenly_spaced, rollouts_table
from stepcoder_trl.steps.programs import Feedback
from stepcoder_trl.steps.starts import Start
from stepcoder_trl.trainer.records import Rollout, Scores


COMPLETIONS = "completions"
_WITH_TABLES = ("wandb", "trackio")


def rollout_views(rollout: Rollout, feedback: Feedback, scores: Scores, loss_mask: torch.Tensor) -> list[RolloutView]:
    """
    Completions of an update as reports show them.

    Args:
        rollout ([`Rollout`]):
            `B` completions.
        feedback ([`Feedback`]):
            Their executions.
        scores ([`Scores`]):
            Their scores.
        loss_mask (`torch.Tensor` of shape `(B, T)`):
            Tokens in the policy loss.

    Returns:
        `list[RolloutView]`: One per completion.
    """
    views = []
    for number, (completion, execution) in enumerate(zip(rollout.completions, feedback.executions, strict=True)):
        start = completion.start
        views.append(
            RolloutView(
                task_id=start.row.task_id,
                prompt=prompt_text(start),
                prefix=start.query.prefix,
                tokens=tuple(completion.text[first:end] for first, end in completion.spans),
                loss_mask=tuple(loss_mask[number, : len(completion.spans)].tolist()),
                outcome=None if execution is None else execution.outcome.value,
                score=scores.scores[number].item() if scores.scored[number] else None,
                stage=None if start.stage is None else start.stage.stage,
                tests_passed=0 if execution is None else execution.num_passed,
                tests_total=0 if execution is None else len(execution.tests),
                program_span=completion.program.span,
                completion=completion.text,
            )
        )
    return views


def prompt_text(start: Start) -> str:
    """Requirement as text: the messages of a chat one after the other, a query of upstream's kind decoded."""
    if start.row.token_ids is not None:
        return start.query.text
    if isinstance(start.row.prompt, str):
        return start.row.prompt
    return "\n".join(f"{message['role']}: {message['content']}" for message in start.row.prompt)


def print_completions(rollouts: Sequence[RolloutView], most: int | None, title: str) -> None:
    """Print at most so many of the completions, at even distances, as a table; `None` prints all."""
    shown = list(rollouts) if most is None else evenly_spaced(rollouts, most)
    Console().print(rollouts_table(shown, title))


def send_completions(
    rollouts: Sequence[RolloutView], update: int, report_to: Sequence[str], callbacks: Sequence[Any]
) -> None:
    """
    Send completions to the experiment trackers that take them.

    Args:
        rollouts (`Sequence[RolloutView]`):
            Completions.
        update (`int`):
            Updates done.
        report_to (`Sequence[str]`):
            Trackers that are told of metrics. wandb and trackio get a table.
        callbacks (`Sequence`):
            Callbacks of the trainer. That of TensorBoard gets text.
    """
    for name in _WITH_TABLES:
        if name in report_to:
            pandas, tracker = importlib.import_module("pandas"), importlib.import_module(name)
            table = tracker.Table(dataframe=pandas.DataFrame(completion_columns(rollouts, update)))
            tracker.log({COMPLETIONS: table})
    for callback in callbacks:
        if isinstance(callback, TensorBoardCallback) and callback.tb_writer is not None:
            callback.tb_writer.add_text(COMPLETIONS, completions_markdown(rollouts), update)


class RolloutLog:
    """
    Logs the completions of an update.

    Args:
        output_dir (`str`):
            Directory of the run. Parquet files go to `completions/` in it.
        num_to_print (`int` or `None`):
            Number of completions that are printed, `None` for all.
        report_to (`Sequence[str]`):
            Trackers.
    """

    def __init__(self, output_dir: str, num_to_print: int | None, report_to: Sequence[str]) -> None:
        self.folder, self.num_to_print, self.report_to = Path(output_dir) / COMPLETIONS, num_to_print, report_to
        self._views: list[RolloutView] = []

    def note(self, views: list[RolloutView]) -> None:
        """Keep the completions of this process until the next log."""
        self._views = views

    def write(self, step: int, callbacks: Sequence[Any], is_local_main: bool, is_main: bool) -> None:
        """
        Log the completions of all processes. Every process must call it.

        Args:
            step (`int`):
                Updates done.
            callbacks (`Sequence`):
                Callbacks of the trainer.
            is_local_main (`bool`):
                Whether this process prints.
            is_main (`bool`):
                Whether this process writes files and tells the trackers.
        """
        views, self._views = gather_object(self._views), []
        if is_local_main:
            print_completions(views, self.num_to_print, f"Completions of update {step}")
        if is_main:
            write_completions(views, step, self.folder)
            send_completions(views, step, self.report_to, callbacks)
