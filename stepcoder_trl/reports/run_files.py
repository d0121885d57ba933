"""Files that a run leaves for readers: model card, plot of the learning curve, and page."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from stepcoder_trl.jsonl import write_text
from stepcoder_trl.reports.model_card import CARD, CURVE, curve_points, model_card
from stepcoder_trl.reports.plots import can_plot, plot_curves
from stepcoder_trl.reports.run_facts import PassRate, RunFacts, read_facts, with_pass_rates, write_facts
from stepcoder_trl.reports.run_page import run_page
from stepcoder_trl.reports.run_record import read_record


PAGE = "report.html"
_PANELS = {"score": ("Score", "mean per completion"), "KL": ("KL to the reference", "nats per completion")}
_SHARES = ("Shares", "share")


def write_card(facts: RunFacts, folder: str | os.PathLike[str]) -> None:
    """Write model card and facts into the folder of a model, and the learning curve if matplotlib is installed."""
    panels = _panels(facts.history) if can_plot() else {}
    if panels:
        plot_curves(panels, Path(folder) / CURVE, dict([*_PANELS.values(), _SHARES]))
    facts = dataclasses.replace(facts, curve=bool(panels))
    write_text(Path(folder) / CARD, model_card(facts))
    write_facts(facts, folder)


def _panels(history: Sequence[Mapping[str, float]]) -> dict[str, dict[str, list[tuple[float, float]]]]:
    """Return the curves with at least two points, grouped by the kind of their values."""
    curves = {name: points for name, points in curve_points(history).items() if len(points) > 1}
    panels: dict[str, dict[str, list[tuple[float, float]]]] = {}
    for name, points in curves.items():
        panels.setdefault(_PANELS.get(name, _SHARES)[0], {})[name] = points
    return panels


def write_page(facts: RunFacts, output_dir: str | os.PathLike[str]) -> Path:
    """Write the page of a run into its directory, and return its path."""
    path = Path(output_dir) / PAGE
    write_text(path, run_page(facts, read_record(output_dir)))
    return path


def add_pass_rates(folder: str | os.PathLike[str], rates: Sequence[PassRate]) -> bool:
    """
    Add measured pass rates to the card of a model folder, and to the page beside it. Returns whether there is a card.

    Raises:
        BadInputError: If the facts in the folder are damaged.
    """
    facts = read_facts(folder)
    if facts is None:
        return False
    facts = with_pass_rates(facts, rates)
    write_card(facts, folder)
    if (Path(folder) / PAGE).exists():
        write_page(facts, folder)
    return True
