"""What a trainer tells its model card, and the files that it writes for it."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Mapping, Sequence
from enum import Enum
from pathlib import Path
from typing import Any

from stepcoder_trl.reports.model_card import CARD, CURVE, CardFacts, curve_points, model_card
from stepcoder_trl.reports.plots import can_plot, plot_curves
from stepcoder_trl.trainer.ppo_config import StepCoderPPOConfig


# Worked out by the trainer from other settings.
_DERIVED = {
    "activation_checkpointing",
    "activation_checkpointing_kwargs",
    "batch_size",
    "local_batch_size",
    "local_mini_batch_size",
    "micro_batch_size",
    "mini_batch_size",
    "num_total_batches",
    "world_size",
}


def write_card(facts: CardFacts, folder: str | os.PathLike[str]) -> None:
    """
    Write a model card, and where matplotlib is installed the learning curve beside it.

    Args:
        facts ([`CardFacts`]):
            What the card says.
        folder (`str` or path):
            Folder of the model.
    """
    panels = _panels(facts.history) if can_plot() else {}
    if panels:
        plot_curves(panels, Path(folder) / CURVE)
    facts = dataclasses.replace(facts, curve=bool(panels))
    (Path(folder) / CARD).write_text(model_card(facts), encoding="utf-8")


def _panels(history: Sequence[Mapping[str, float]]) -> dict[str, dict[str, list[tuple[float, float]]]]:
    """Curves with at least two points, those with values of a kind together."""
    curves = {name: points for name, points in curve_points(history).items() if len(points) > 1}
    panels: dict[str, dict[str, list[tuple[float, float]]]] = {}
    for name, points in curves.items():
        title = {"score": "Mean score", "KL": "KL to the reference"}.get(name, "Shares")
        panels.setdefault(title, {})[name] = points
    return panels


def settings_of(args: StepCoderPPOConfig) -> dict[str, Any]:
    """All settings as JSON values; tokens are hidden."""
    settings: dict[str, Any] = json.loads(json.dumps(args.to_dict(), default=str))
    return {name: value for name, value in settings.items() if name not in _DERIVED}


def defaults_of(args: StepCoderPPOConfig) -> dict[str, Any]:
    """Default of each setting; where that is `None` and the value says as much, the value."""
    defaults = {}
    for field in dataclasses.fields(args):
        value = getattr(args, field.name)
        default = field.default if field.default is not dataclasses.MISSING else value
        default = default.value if isinstance(default, Enum) else default
        defaults[field.name] = value if default is None and not value else default
    return json.loads(json.dumps(defaults, default=str))


def public_name(name_or_path: str | None) -> str | None:
    """Name of a model: of a folder its last part, as nobody else knows where it lies."""
    if not name_or_path:
        return None
    return Path(name_or_path).resolve().name if os.path.isdir(name_or_path) else name_or_path
