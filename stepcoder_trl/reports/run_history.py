"""Logged metrics of a run: where they are, and which of them are drawn by default."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stepcoder_trl.errors import BadInputError
from stepcoder_trl.jsonl import parse_json, read_rows, whole_rows


Points = list[tuple[float, float]]  # (update, value)


@dataclass(frozen=True)
class Panel:
    """One chart of a learning curve. The first of the metrics that a run has logged is drawn."""

    title: str
    unit: str  # label of the y axis
    metrics: tuple[str, ...]
    is_share: bool = False  # whether values are shares in [0, 1]


PANELS = (
    Panel("Evaluation from scratch: pass@1", "share of problems", ("eval_pass@1", "heldout"), is_share=True),
    Panel("Training: programs that pass", "share of programs", ("executor/passed",), is_share=True),
    Panel("Score", "mean per completion", ("objective/scores", "reward")),
    Panel("Problems that start from scratch", "share of problems", ("curriculum/scratch_share",), is_share=True),
    Panel("Tokens kept by Fine-Grained Optimization", "share of tokens", ("fgo/kept_share",), is_share=True),
    Panel("KL divergence from the reference", "nats per completion", ("objective/kl",)),
    Panel("KL divergence from the reference, per token", "nats per token", ("kl",)),
    Panel("Length of completions", "tokens", ("completions/mean_length",)),
    Panel("Explained variance of the critic", "1 is perfect", ("val/explained_variance",)),
    Panel("Training loss", "mean per token", ("loss",)),
    Panel("Tokens predicted right", "share of tokens", ("mean_token_accuracy",), is_share=True),
)
FACTS_FILE = "card.json"  # facts of a run, beside its model
_STATE, _CURVES, _METRICS = "trainer_state.json", "curves.jsonl", "metrics.jsonl"
_CHECKPOINT = re.compile(r"checkpoint-(\d+)")


def curve_of(history: Sequence[Mapping[str, Any]], names: Sequence[str]) -> Points:
    """Return the curve of the first of these metrics that was logged. Empty if none was."""
    for name in names:
        points = [(entry["step"], entry[name]) for entry in history if isinstance(entry.get(name), (int, float))]
        if points:
            return points
    return []


def read_history(path: Path) -> list[dict[str, Any]]:
    """
    Read the logged entries of a run, in order. Each has the number of its update as `step`.

    `path` is a run directory, of which the log that goes farthest is read, or a log file.

    Raises:
        BadInputError: If there is no log, or it cannot be read.
    """
    if not path.exists():
        raise BadInputError(f"{path}: there is no such folder or file. Pass a run directory, or a log of one.")
    files = [path] if path.is_file() else _log_files(path)
    if not files:
        raise BadInputError(
            f"{path}: there is neither {_METRICS}, nor a checkpoint with {_STATE}, nor {_CURVES}. Pass a run "
            "directory."
        )
    return max(map(_entries, files), key=lambda entries: max((entry["step"] for entry in entries), default=-1))


def checkpoint_folders(path: Path) -> list[Path]:
    """Return the checkpoints in a run directory, newest first."""
    found = [(int(match[1]), one) for one in path.glob("checkpoint-*") if (match := _CHECKPOINT.fullmatch(one.name))]
    return [one for _, one in sorted(found, reverse=True)]


def _log_files(path: Path) -> list[Path]:
    newest = [one / _STATE for one in checkpoint_folders(path) if (one / _STATE).is_file()][:1]
    return [
        one for one in (path / FACTS_FILE, path / _METRICS, *newest, path / _STATE, path / _CURVES) if one.is_file()
    ]


def _entries(file: Path) -> list[dict[str, Any]]:
    if file.name == _METRICS:
        entries: Any = whole_rows(file)  # a run that was killed has cut off the last line
    elif file.suffix == ".jsonl":
        rows = [row.fields for row in read_rows(file) if row.fields.get("phase") != "sft"]
        entries = [{**row, "step": row.get("update", row.get("step"))} for row in rows]
    else:
        try:
            state = parse_json(file.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise BadInputError(f"{file}: cannot be read ({error}). Pass another run.") from None
        key = "history" if file.name == FACTS_FILE else "log_history"
        entries = state.get(key) if isinstance(state, dict) else None
        if not isinstance(entries, list):
            raise BadInputError(f"{file}: has no `{key}`. Pass a run directory of the trainer.")
    return [entry for entry in entries if isinstance(entry, dict) and isinstance(entry.get("step"), int)]
