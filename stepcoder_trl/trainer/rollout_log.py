"""Log of completions: in the terminal, in parquet files and in experiment trackers."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import gather_object
from rich.console import Console
from transformers.integrations import TensorBoardCallback

from stepcoder_trl.reports.completions import completion_columns, completions_markdown, write_completions
from stepcoder_trl.reports.rollouts import RolloutView, evenly_spaced, failing_test
from stepcoder_trl.reports.terminal import rollouts_table
from stepcoder_trl.steps.programs import Feedback
from stepcoder_trl.steps.starts import Completion, Start
from stepcoder_trl.trainer.records import Rollout, Scores
from stepcoder_trl.types import Execution


COMPLETIONS = "completions"
_WITH_TABLES = ("wandb", "trackio")


def rollout_views(rollout: Rollout, feedback: Feedback, scores: Scores, loss_mask: torch.Tensor) -> list[RolloutView]:
    """Return the completions of a rollout in the form of the reports."""
    return completion_views(rollout.completions, feedback.executions, scores.tolist(), loss_mask)


def completion_views(
    completions: Sequence[Completion],
    executions: Sequence[Execution | None],
    scores: Sequence[float | None],
    loss_mask: torch.Tensor,
) -> list[RolloutView]:
    """Return completions in the form of the reports. `loss_mask` of shape `(B, T)` is `True` at kept tokens."""
    views = []
    for completion, execution, score, kept in zip(completions, executions, scores, loss_mask.tolist(), strict=True):
        start = completion.start
        views.append(
            RolloutView(
                task_id=start.row.task_id,
                prompt=prompt_text(start),
                prefix=start.query.prefix,
                tokens=tuple(completion.text[first:end] for first, end in completion.spans),
                loss_mask=tuple(kept[: len(completion.spans)]),
                outcome=None if execution is None else execution.outcome.value,
                score=score,
                stage=None if start.stage is None else start.stage.stage,
                tests_passed=0 if execution is None else execution.num_passed,
                tests_total=0 if execution is None else len(execution.tests),
                program_span=completion.program.span,
                completion=completion.text,
                token_ids=completion.token_ids[: len(completion.spans)],
                executed_lines=None if execution is None else tuple(sorted(execution.executed_lines)),
                failing_test=failing_test(execution, start.row.tests),
                solution=start.row.canonical_solution,
            )
        )
    return views


def prompt_text(start: Start) -> str:
    """Return the prompt as text: messages of a chat one per line, token ids decoded."""
    if start.row.token_ids is not None:
        return start.query.text
    if isinstance(start.row.prompt, str):
        return start.row.prompt
    return "\n".join(f"{message['role']}: {message['content']}" for message in start.row.prompt)


def print_completions(rollouts: Sequence[RolloutView], most: int | None, title: str) -> None:
    """Print a table of at most `most` completions, evenly spaced. `None` prints all."""
    shown = list(rollouts) if most is None else evenly_spaced(rollouts, most)
    Console().print(rollouts_table(shown, title))


def send_completions(
    rollouts: Sequence[RolloutView], update: int, report_to: Sequence[str], callbacks: Sequence[Any]
) -> None:
    """Send completions to experiment trackers: a table to wandb and trackio, text to the callback of TensorBoard."""
    for name in _WITH_TABLES:
        if name in report_to:
            pandas, tracker = importlib.import_module("pandas"), importlib.import_module(name)
            table = tracker.Table(dataframe=pandas.DataFrame(completion_columns(rollouts, update)))
            tracker.log({COMPLETIONS: table})
    for callback in callbacks:
        if isinstance(callback, TensorBoardCallback) and callback.tb_writer is not None:
            callback.tb_writer.add_text(COMPLETIONS, completions_markdown(rollouts), update)


def joined_columns(parts: Sequence[tuple[int, Mapping[str, Sequence[Any]]]]) -> dict[str, list[Any]]:
    """
    Return the extra columns of all processes, with `None` where one has no value.

    Each part is the number of completions of a process, and its columns.
    """
    names = dict.fromkeys(name for _, columns in parts for name in columns)
    filled = {
        name: [[*columns.get(name, ()), *[None] * number][:number] for number, columns in parts] for name in names
    }
    return {name: [value for values in lists for value in values] for name, lists in filled.items()}


class RolloutLog:
    """Prints the completions of an update, and writes them to `completions/` in `output_dir` and to trackers."""

    def __init__(self, output_dir: str, num_to_print: int | None, report_to: Sequence[str]) -> None:
        self.folder, self.num_to_print, self.report_to = Path(output_dir) / COMPLETIONS, num_to_print, report_to
        self._views: list[RolloutView] = []
        self._extra: Mapping[str, Sequence[Any]] = {}

    def note(self, views: list[RolloutView], extra: Mapping[str, Sequence[Any]] | None = None) -> None:
        """Keep the completions of this process for the next log, with `extra` columns of the reward functions."""
        self._views, self._extra = views, extra or {}

    def write(self, step: int, callbacks: Sequence[Any], is_local_main: bool, is_main: bool) -> None:
        """Log the completions of all processes, which must all call this. `is_local_main` prints, `is_main` writes."""
        views, parts = gather_object(self._views), gather_object([(len(self._views), self._extra)])
        self._views, self._extra = [], {}
        if is_local_main:
            print_completions(views, self.num_to_print, f"Completions of update {step}")
        if is_main:
            write_completions(views, step, self.folder, joined_columns(parts))
            send_completions(views, step, self.report_to, callbacks)
