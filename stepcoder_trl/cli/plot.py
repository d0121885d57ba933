"""`stepcoder-trl plot`: plot the learning curves of one or several runs."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from stepcoder_trl.cli.outputs import check_outputs, files_of
from stepcoder_trl.errors import BadInputError
from stepcoder_trl.reports.plots import MISSING, can_plot, plot_curves
from stepcoder_trl.reports.run_history import PANELS, Panel, curve_of, read_history


EPILOG = f"""RUN is the output_dir of `stepcoder-trl ppo`, `grpo` or `sft`, a run directory of `quickstart`, or a file
metrics.jsonl, trainer_state.json or curves.jsonl.

plotted by default, if logged:
{chr(10).join(f"  {panel.title} ({', '.join(panel.metrics)})" for panel in PANELS)}

examples:
  stepcoder-trl plot runs/stepcoder
  stepcoder-trl plot runs/ppo runs/stepcoder --metrics executor/passed loss/policy_avg --out compared.png
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the verb."""
    add = parser.add_argument
    add("runs", nargs="+", metavar="RUN", help="Plot these run directories or log files together.")
    add("--out", metavar="FILE", help="Write the plot to FILE (default: plot.png in the first RUN).")
    add("--metrics", nargs="+", metavar="NAME", help="Plot these metrics, one panel each (default: see below).")


def run(arguments: argparse.Namespace) -> int:
    """Plot the curves and return the exit status."""
    if not can_plot():
        raise BadInputError(MISSING)
    histories = {_name(path, arguments.runs): read_history(Path(path)) for path in arguments.runs}
    panels = [Panel(name, "value", (name,)) for name in arguments.metrics] if arguments.metrics else PANELS
    curves = {panel.title: _curves(histories, panel) for panel in panels}
    if arguments.metrics and not all(curves.values()):
        missing = next(title for title, lines in curves.items() if not lines)
        known = sorted({name for history in histories.values() for entry in history for name in entry})
        raise BadInputError(f"No run has the metric {missing!r}. Available metrics: {', '.join(known)}.")
    curves = {title: lines for title, lines in curves.items() if lines}
    if not curves:
        raise BadInputError(f"{arguments.runs[0]}: no default metric was logged. Select metrics by `--metrics`.")
    first = Path(arguments.runs[0])
    out = Path(arguments.out or (first if first.is_dir() else first.parent) / "plot.png")
    if not out.parent.is_dir():
        raise BadInputError(f"{out}: the folder does not exist. Create it, or choose another one by `--out`.")
    read = [
        path
        for run in map(Path, arguments.runs)
        for path in (run, *files_of(run), *run.glob("*.jsonl"))
        if path.is_file()
    ]
    check_outputs({"--out": out}, read)
    plot_curves(curves, out, {panel.title: panel.unit for panel in panels})
    print(f"Wrote {_count(len(curves), 'panel')} of {_count(len(histories), 'run')} to {out}.")
    return 0


def _name(path: str, paths: Sequence[str]) -> str:
    """Return the name of a run: the last part of its path if that is unique, else the path."""
    names = [Path(one).resolve().name for one in paths]
    name = Path(path).resolve().name
    return name if names.count(name) == 1 else path


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'s' if number != 1 else ''}"


def _curves(
    histories: Mapping[str, Sequence[Mapping[str, Any]]], panel: Panel
) -> dict[str, list[tuple[float, float]]]:
    """Return the curve of each run that logged a metric of the panel, by name of the run."""
    curves = {name: curve_of(history, panel.metrics) for name, history in histories.items()}
    return {name: points for name, points in curves.items() if points}
