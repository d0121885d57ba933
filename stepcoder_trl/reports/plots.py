"""Plot learning curves, histograms and shares. Needs the extra `plots`."""

from __future__ import annotations

import importlib
import importlib.util
import math
import textwrap
from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

from stepcoder_trl.errors import BadInputError


MISSING = "Plots need matplotlib. Run `pip install stepcoder-trl[plots]`."
_INCHES_PER_LETTER = 0.075
_MARKED = 30  # curves with fewer points show each point


def can_plot() -> bool:
    """Return whether matplotlib is installed."""
    return importlib.util.find_spec("matplotlib") is not None


def plot_curves(
    curves: Mapping[str, Mapping[str, Sequence[tuple[float, float]]]],
    path: str | PathLike[str],
    units: Mapping[str, str] | None = None,
) -> None:
    """
    Plot learning curves: points `(update, y)` by panel title and curve name.

    Up to three panels stand one above the other, more in two columns. `units` has the label of a panel's y axis by
    its title. If several curves are drawn, one legend below the panels names them all.
    """
    if not curves:
        raise BadInputError("There are no curves to draw. Pass at least one panel.")
    columns = 1 if len(curves) <= 3 else 2
    rows = math.ceil(len(curves) / columns)
    names = list(dict.fromkeys(name for lines in curves.values() for name in lines))
    figure = _figure(8 if columns == 1 else 11, 2.4 * rows + 0.4 + 0.25 * len(names))
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for panel, (title, lines) in zip(panels, curves.items(), strict=False):
        for name, points in lines.items():
            marker = "." if len(points) < _MARKED else ""
            color = f"C{names.index(name) % 10}"
            panel.plot([x for x, _ in points], [y for _, y in points], label=name, color=color, marker=marker)
        _label(panel, title, "update", (units or {}).get(title, "value"))
        panel.grid(alpha=0.3)
        panel.locator_params(axis="x", integer=True)
    for unused in panels[len(curves) :]:
        unused.set_visible(False)
    if len(names) > 1:
        _legend(figure, panels[: len(curves)])
    _save(figure, path)


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
        _label(panel, title, "", y_label)
        panel.margins(y=0.15)
    _save(figure, path)


def plot_shares(shares: Mapping[str, Mapping[str, float]], path: str | PathLike[str], title: str) -> None:
    """Plot one stacked horizontal bar per group: shares by group and part name. All groups have the same parts."""
    if not shares:
        raise BadInputError("There are no shares to draw. Pass at least one group.")
    figure = _figure(8, 1.6 + 0.5 * len(shares))
    panel = figure.subplots()
    groups = list(shares)[::-1]
    left = [0.0] * len(groups)
    for part in next(iter(shares.values())):
        widths = [shares[group][part] for group in groups]
        panel.barh(groups, widths, left=left, label=part.replace("_", " "))
        left = [start + width for start, width in zip(left, widths, strict=True)]
    panel.set_xlim(0, 1)
    panel.xaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    _label(panel, title, "share of programs", "")
    _legend(figure, [panel])
    _save(figure, path)


def _label(panel: Any, title: str, x_label: str, y_label: str) -> None:
    """Set title and labels. Long titles are wrapped."""
    panel.set_title(textwrap.fill(title, 60), loc="left", fontsize="medium")
    panel.set_xlabel(x_label, fontsize="small")
    panel.set_ylabel(textwrap.fill(y_label, 24), fontsize="small")
    panel.tick_params(labelsize="small")


def _legend(figure: Any, panels: Sequence[Any]) -> None:
    """Add one legend below all panels, with room of its own, so that nothing is cropped or covered."""
    handles: dict[str, Any] = {}
    for panel in panels:
        for handle, name in zip(*panel.get_legend_handles_labels(), strict=True):
            handles.setdefault(name, handle)
    room = figure.get_figwidth() / _INCHES_PER_LETTER
    names = [name if len(name) < room - 8 else "..." + name[len(name) - int(room) + 11 :] for name in handles]
    columns = max(1, int(room // (max(map(len, names)) + 8)))  # a line and gaps take as much as 8 letters
    figure.legend(handles.values(), names, fontsize="small", ncols=columns, loc="outside lower center")


def _save(figure: Any, path: str | PathLike[str]) -> None:
    """Save a figure in the format that the path ends in."""
    suffix, formats = Path(path).suffix[1:], figure.canvas.get_supported_filetypes()
    if suffix.lower() not in formats:
        raise BadInputError(f"{path}: `.{suffix}` is no format of pictures. Let it end in .png, .svg or .pdf.")
    figure.savefig(path)


def _figure(width: float, height: float) -> Any:
    """Create an empty figure. Sizes are in inches."""
    if not can_plot():
        raise ImportError(MISSING)
    # Not through pyplot, which selects a window system and keeps every figure alive.
    return importlib.import_module("matplotlib.figure").Figure(figsize=(width, height), layout="constrained")
