"""Model cards of a run."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Mapping, Sequence
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from datasets import Dataset
from peft import PeftModel

from stepcoder_trl.jsonl import write_text
from stepcoder_trl.reports.model_card import CARD, CURVE, CardFacts, curve_points, measured_pass_rates, model_card
from stepcoder_trl.reports.plots import can_plot, plot_curves
from stepcoder_trl.trainer.models import base_of
from stepcoder_trl.trainer.ppo_config import StepCoderPPOConfig
from stepcoder_trl.versions import versions


if TYPE_CHECKING:
    from stepcoder_trl.trainer.ppo_trainer import StepCoderPPOTrainer

# Settings that the trainer derives from others.
_DERIVED = {
    *("activation_checkpointing", "activation_checkpointing_kwargs", "batch_size", "local_batch_size"),
    *("local_mini_batch_size", "micro_batch_size", "mini_batch_size", "num_total_batches", "world_size"),
}


def card_facts(
    trainer: StepCoderPPOTrainer,
    model_name: str | None = None,
    dataset_name: str | None = None,
    tags: str | Sequence[str] | None = None,
) -> CardFacts:
    """Return the facts about a trainer's current weights. Names that are given replace those of the configuration."""
    args, plan, history = trainer.args, trainer.plan, trainer.state.log_history
    policy = trainer.accelerator.unwrap_model(trainer.model).policy
    info = trainer.train_dataset.info if isinstance(trainer.train_dataset, Dataset) else None
    update = trainer.run.step_of_weights
    if update is None:
        update = trainer.state.global_step
    return CardFacts(
        model_name=model_name or args.hub_model_id or Path(args.output_dir).resolve().name,
        base_model=public_name(base_of(policy).config.name_or_path),
        adapter=isinstance(policy, PeftModel),
        training_data=dataset_name or args.training_data_name,
        training_data_license=args.training_data_license or (info.license if info is not None else None),
        num_problems=len(trainer.rows),
        update=update,
        num_updates=plan.num_updates,
        episodes=update * plan.batch_size,
        num_processes=plan.batch_size // plan.local_batch_size,
        pass_rates=measured_pass_rates(history, update, args.eval_data_name),
        history=history,
        settings=settings_of(args),
        defaults=defaults_of(args),
        versions=versions(),
        backend=trainer.runner.backend,
        layers=dict(trainer.runner.layers),
        tags=[tags] if isinstance(tags, str) else list(tags or ()),
    )


def write_card(facts: CardFacts, folder: str | os.PathLike[str]) -> None:
    """Write a model card into the folder of a model, and the learning curve if matplotlib is installed."""
    panels = _panels(facts.history) if can_plot() else {}
    if panels:
        plot_curves(panels, Path(folder) / CURVE)
    facts = dataclasses.replace(facts, curve=bool(panels))
    write_text(Path(folder) / CARD, model_card(facts))


def _panels(history: Sequence[Mapping[str, float]]) -> dict[str, dict[str, list[tuple[float, float]]]]:
    """Return the curves with at least two points, grouped by the kind of their values."""
    curves = {name: points for name, points in curve_points(history).items() if len(points) > 1}
    panels: dict[str, dict[str, list[tuple[float, float]]]] = {}
    for name, points in curves.items():
        title = {"score": "Mean score", "KL": "KL to the reference"}.get(name, "Shares")
        panels.setdefault(title, {})[name] = points
    return panels


def settings_of(args: StepCoderPPOConfig) -> dict[str, Any]:
    """Return all settings as JSON values. Tokens of the Hub are hidden."""
    settings: dict[str, Any] = json.loads(json.dumps(args.to_dict(), default=str))
    return {name: value for name, value in settings.items() if name not in _DERIVED}


def defaults_of(args: StepCoderPPOConfig) -> dict[str, Any]:
    """Return the default of each setting, or its value if the default is `None` and the value is false or empty."""
    defaults = {}
    for field in dataclasses.fields(args):
        value = getattr(args, field.name)
        default = field.default if field.default is not dataclasses.MISSING else value
        default = default.value if isinstance(default, Enum) else default
        defaults[field.name] = value if default is None and not value else default
    return json.loads(json.dumps(defaults, default=str))


def public_name(name_or_path: str | None) -> str | None:
    """Return the name of a model for the card: of a local path only the last folder."""
    if not name_or_path:
        return None
    return Path(name_or_path).resolve().name if os.path.isdir(name_or_path) else name_or_path
