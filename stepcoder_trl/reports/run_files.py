"""Files that a run leaves for readers: model card, plot of the learning curve, and page."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from stepcoder_trl.curriculum.measured import MEASUREMENT_FILE, read_measurement
from stepcoder_trl.errors import BadInputError
from stepcoder_trl.jsonl import write_text
from stepcoder_trl.reports.model_card import CARD, CURVE, critic_card, curve_points, model_card
from stepcoder_trl.reports.plots import can_plot, plot_curves
from stepcoder_trl.reports.run_facts import PassRate, RunFacts, read_facts, with_pass_rates, write_facts
from stepcoder_trl.reports.run_history import FACTS_FILE, checkpoint_folders, read_history
from stepcoder_trl.reports.run_page import run_page
from stepcoder_trl.reports.run_record import read_record


# What may happen while a report is written: a full or read-only disk, damaged files, values that nobody expected.
REPORT_FAILURES = (OSError, ArithmeticError, AttributeError, LookupError, TypeError, ValueError)
PAGE = "report.html"
CRITIC = "value_model"
_PANELS = {"score": ("Score", "mean per completion"), "KL": ("KL to the reference", "nats per completion")}
_SHARES = ("Shares", "share")


def write_card(facts: RunFacts, folder: str | os.PathLike[str]) -> None:
    """
    Write model card and facts into the folder of a model, and a card for the critic in it.

    If matplotlib is installed, the learning curve is plotted, too. Cards of other libraries are replaced.
    """
    panels = _panels(facts.history) if can_plot() else {}
    if panels:
        plot_curves(panels, Path(folder) / CURVE, dict([*_PANELS.values(), _SHARES]))
    facts = dataclasses.replace(facts, curve=bool(panels))
    write_text(Path(folder) / CARD, model_card(facts))
    if (Path(folder) / CRITIC).is_dir():
        write_text(Path(folder) / CRITIC / CARD, critic_card(facts))
    write_facts(facts, folder)


def _panels(history: Sequence[Mapping[str, float]]) -> dict[str, dict[str, list[tuple[float, float]]]]:
    """Return the curves with at least two points, grouped by the kind of their values."""
    curves = {name: points for name, points in curve_points(history).items() if len(points) > 1}
    panels: dict[str, dict[str, list[tuple[float, float]]]] = {}
    for name, points in curves.items():
        panels.setdefault(_PANELS.get(name, _SHARES)[0], {})[name] = points
    return panels


def run_directory(folder: Path) -> Path:
    """Return the run directory in a folder: itself, or `policy/` of a quickstart."""
    inner = folder / "policy"
    return inner if not (folder / FACTS_FILE).exists() and (inner / FACTS_FILE).exists() else folder


def read_run(output_dir: Path) -> RunFacts:
    """
    Return the facts about a run that has ended, was stopped or goes on: those of its newest model, and its log.

    Raises:
        BadInputError: If there is neither a log nor facts, or they are damaged.
    """
    newest = [one for one in checkpoint_folders(output_dir) if (one / FACTS_FILE).is_file()][:1]
    known = [facts for one in (output_dir, *newest) if (facts := read_facts(one)) is not None]
    if not known:
        raise BadInputError(
            f"{output_dir}: there is neither {FACTS_FILE} nor a checkpoint that has it. Pass the run directory of a "
            "training run."
        )
    facts = max(known, key=lambda one: one.update)  # of two that are equal the first, which may be evaluated
    history = read_history(output_dir)
    steps = [facts.update, *(int(entry["step"]) for entry in history)]
    pass_rates = facts.pass_rates if max(steps) == facts.update else []
    return dataclasses.replace(facts, history=history, update=max(steps), pass_rates=pass_rates)


def write_page(
    facts: RunFacts, output_dir: str | os.PathLike[str], path: str | os.PathLike[str] | None = None
) -> Path:
    """Write the page of a run, by default into its directory. Returns the path."""
    path = Path(path or Path(output_dir) / PAGE)
    is_measured = facts.settings.get("curriculum_start") == "measured"  # else a file there is that of another run
    measurement = read_measurement(Path(output_dir) / MEASUREMENT_FILE) if is_measured else []
    write_text(path, run_page(facts, read_record(output_dir), measurement))
    return path


def add_pass_rates(folder: str | os.PathLike[str], rates: Sequence[PassRate]) -> bool:
    """
    Add measured pass rates to the card of a model folder, and to the page beside it.

    Returns whether the card was written. It is not where training wrote none, or where somebody has edited it.

    Raises:
        BadInputError: If the facts in the folder are damaged.
    """
    facts = read_facts(folder)
    if facts is None:
        return False
    card = Path(folder) / CARD
    is_ours = card.is_file() and card.read_text(encoding="utf-8") == model_card(facts)
    facts = with_pass_rates(facts, rates)
    if is_ours:
        write_card(facts, folder)
    else:
        write_facts(facts, folder)
    if (Path(folder) / PAGE).exists():
        write_page(facts, folder)
    return is_ours
