"""Learning curves and histograms as pictures. Needs the extra `plots`."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Mapping, Sequence
from os import PathLike
from typing import Any

from stepcoder_trl.errors import BadInputError


MISSING = "Plots need matplotlib. Run `pip install stepcoder-trl[plots]`."


def can_plot() -> bool:
    """Whether matplotlib is installed."""
    return importlib.util.find_spec("matplotlib") is not None


def plot_curves(
    curves: Mapping[str, Mapping[str, Sequence[tuple[float, float]]]],
    path: str | PathLike[str],
    x_label: str = "update",
) -> None:
    """
    Draw learning curves, one panel above the other.

    Args:
        curves (`Mapping[str, Mapping[str, Sequence[tuple[float, float]]]]`):
            Per panel, by its title, the points `(x, y)` of each curve, by its name.
        path (`str` or path):
            File to write; its suffix says the format.
        x_label (`str`, *optional*, defaults to `"update"`):
            What the horizontal axis counts.

    Raises:
        ImportError: If matplotlib is not installed; the message says how to install it.
        BadInputError: If there is nothing to draw.
    """
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
    panels[-1].set_xlabel(x_label)
    figure.savefig(path)


def plot_histograms(
    histograms: Mapping[str, Mapping[str, int]], path: str | PathLike[str], y_label: str = "problems"
) -> None:
    """
    Draw histograms, one panel above the other.

    Args:
        histograms (`Mapping[str, Mapping[str, int]]`):
            Per panel, by its title, the height of each bar, by the name below it.
        path (`str` or path):
            File to write; its suffix says the format.
        y_label (`str`, *optional*, defaults to `"problems"`):
            What the bars count.

    Raises:
        ImportError: If matplotlib is not installed; the message says how to install it.
        BadInputError: If there is nothing to draw.
    """
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
    """
    Draw one horizontal bar per group, divided by shares.

    Args:
        shares (`Mapping[str, Mapping[str, float]]`):
            Of each group, by name, the share of each part, by name; all groups have the same parts.
        path (`str` or path):
            File to write; its suffix says the format.
        title (`str`):
            What is shown.

    Raises:
        ImportError: If matplotlib is not installed; the message says how to install it.
        BadInputError: If there is nothing to draw.
    """
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
    """Empty figure of a size in inches."""
    if not can_plot():
        raise ImportError(MISSING)
    # A figure of its own: pyplot would pick a window system and keep every figure alive.
    return importlib.import_module("matplotlib.figure").Figure(figsize=(width, height), layout="constrained")
