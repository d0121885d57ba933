"""Plot learning curves, histograms and shares. Needs the extra `plots`."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Mapping, Sequence
from os import PathLike
from typing import Any

from stepcoder_trl.errors import BadInputError


MISSING = "Plots need matplotlib. Run `pip install stepcoder-trl[plots]`."


def can_plot() -> bool:
    """Return whether matplotlib is installed."""
    return importlib.util.find_spec("matplotlib") is not None


def plot_curves(curves: Mapping[str, Mapping[str, Sequence[tuple[float, float]]]], path: str | PathLike[str]) -> None:
    """Plot learning curves: points `(x, y)` by panel title and curve name, one panel above the other."""
    if not curves:
        raise BadInputError("There are no curves to draw. Pass at least one panel.")
    figure = _figure(8, 2.6 * len(curves))
    panels = figure.subplots(len(curves), 1, sharex=True, squeeze=False)[:, 0]
    for panel, (title, lines) in zip(panels, curves.items(), strict=True):
        for name, points in lines.items():
            panel.plot(
                [x for x, _ in points], [y for _, y in points], label=name, marker="." if len(points) < 30 else ""
            )
        panel.set_title(title, loc="left", fontsize="medium")
        panel.grid(alpha=0.3)
        panel.legend(fontsize="small")
    panels[-1].set_xlabel("update")
    figure.savefig(path)


def plot_histograms(
    histograms: Mapping[str, Mapping[str, int]], path: str | PathLike[str], y_label: str = "problems"
) -> None:
    """Plot histograms: bar heights by panel title and bar name, one panel above the other."""
    if not histograms:
        raise BadInputError("There are no histograms to draw. Pass at least one panel.")
    figure = _figure(8, 2.8 * len(histograms))
    panels = figure.subplots(len(histograms), 1, squeeze=False)[:, 0]
    for panel, (title, heights) in zip(panels, histograms.items(), strict=True):
        bars = panel.bar(list(heights), list(heights.values()))
        panel.bar_label(bars, fontsize="small")
        panel.set_title(title, loc="left", fontsize="medium")
        panel.set_ylabel(y_label)
        panel.margins(y=0.15)
    figure.savefig(path)


def plot_shares(shares: Mapping[str, Mapping[str, float]], path: str | PathLike[str], title: str) -> None:
    """Plot one stacked horizontal bar per group: shares by group and part name. All groups have the same parts."""
    if not shares:
        raise BadInputError("There are no shares to draw. Pass at least one group.")
    figure = _figure(8, 1.2 + 0.5 * len(shares))
    panel = figure.subplots()
    groups = list(shares)[::-1]
    left = [0.0] * len(groups)
    for part in next(iter(shares.values())):
        widths = [shares[group][part] for group in groups]
        panel.barh(groups, widths, left=left, label=part.replace("_", " "))
        left = [start + width for start, width in zip(left, widths, strict=True)]
    panel.set_xlim(0, 1)
    panel.set_title(title, loc="left", fontsize="medium")
    panel.legend(fontsize="small", ncols=6, loc="upper center", bbox_to_anchor=(0.5, -0.12))
    figure.savefig(path)


def _figure(width: float, height: float) -> Any:
    """Create an empty figure. Sizes are in inches."""
    if not can_plot():
        raise ImportError(MISSING)
    # Not through pyplot, which selects a window system and keeps every figure alive.
    return importlib.import_module("matplotlib.figure").Figure(figsize=(width, height), layout="constrained")
