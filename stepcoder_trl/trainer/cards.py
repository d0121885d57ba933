"""Model cards: the facts of a run, and the files that are written."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Mapping, Sequence
from enum import Enum
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from peft import PeftModel
from transformers import TrainerState

from stepcoder_trl.reports.model_card import CARD, CURVE, CardFacts, curve_points, measured_pass_rates, model_card
from stepcoder_trl.reports.plots import can_plot, plot_curves
from stepcoder_trl.steps.programs import ProgramRunner
from stepcoder_trl.trainer.batches import BatchPlan
from stepcoder_trl.trainer.models import base_of
from stepcoder_trl.trainer.ppo_config import StepCoderPPOConfig
from stepcoder_trl.versions import versions


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


def card_facts(
    args: StepCoderPPOConfig,
    state: TrainerState,
    plan: BatchPlan,
    policy: torch.nn.Module,
    training_data: Any,
    num_problems: int,
    update: int,
    runner: ProgramRunner,
) -> CardFacts:
    """
    Facts of a run for its model card.

    Args:
        args ([`StepCoderPPOConfig`]):
            Configuration.
        state ([`~transformers.TrainerState`]):
            Logged history.
        plan ([`BatchPlan`]):
            Sizes.
        policy (`torch.nn.Module`):
            Policy.
        training_data (*optional*):
            Training set as it was given.
        num_problems (`int`):
            Problems of it that were used.
        update (`int`):
            Update that the weights are of.
        runner ([`ProgramRunner`]):
            Knows what ran the programs.

    Returns:
        [`CardFacts`]
    """
    info = training_data.info if isinstance(training_data, Dataset) else None
    return CardFacts(
        model_name=args.hub_model_id or Path(args.output_dir).resolve().name,
        base_model=public_name(base_of(policy).config.name_or_path),
        adapter=isinstance(policy, PeftModel),
        training_data=args.training_data_name,
        training_data_license=args.training_data_license or (info.license if info is not None else None),
        num_problems=num_problems,
        update=update,
        num_updates=plan.num_updates,
        episodes=update * plan.batch_size,
        num_processes=plan.batch_size // plan.local_batch_size,
        pass_rates=measured_pass_rates(state.log_history, update, args.eval_data_name),
        history=state.log_history,
        settings=settings_of(args),
        defaults=defaults_of(args),
        versions=versions(),
        backend=runner.backend,
        layers=dict(runner.layers),
    )


def rename_facts(
    facts: CardFacts, model_name: str | None, dataset_name: str | None, tags: str | Sequence[str] | None
) -> CardFacts:
    """Facts with other names of the model and of the training set, where they are given, and with further tags."""
    return dataclasses.replace(
        facts,
        model_name=model_name or facts.model_name,
        training_data=dataset_name or facts.training_data,
        tags=[tags] if isinstance(tags, str) else list(tags or ()),
    )


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
    """Model name for the card. A local path is cut to its last folder."""
    if not name_or_path:
        return None
    return Path(name_or_path).resolve().name if os.path.isdir(name_or_path) else name_or_path
