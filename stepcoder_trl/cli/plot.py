"""`stepcoder-trl plot`: plot the learning curves of one or several runs."""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from stepcoder_trl.errors import BadInputError
from stepcoder_trl.jsonl import parse_json, read_rows
from stepcoder_trl.reports.plots import MISSING, can_plot, plot_curves


# Default panels: title and metrics. Metrics that no run has are skipped.
PANELS: dict[str, Sequence[str]] = {
    "Evaluation: pass@1": ("eval_pass@1", "heldout"),
    "Training: share of programs that pass": ("executor/passed",),
    "Score": ("objective/scores",),
    "Share of problems that start from scratch": ("curriculum/scratch_share",),
    "Share of tokens kept by Fine-Grained Optimization": ("fgo/kept_share",),
    "KL divergence from the reference": ("objective/kl",),
    "Tokens per completion": ("completions/mean_length",),
    "Explained variance of the critic": ("val/explained_variance",),
}
EPILOG = f"""RUN is the output_dir of `stepcoder-trl ppo` or `sft` (the trainer_state.json of the newest checkpoint is
read), a run directory of `quickstart`, or a file trainer_state.json or curves.jsonl.

plotted by default, if logged:
{chr(10).join(f"  {title} ({', '.join(names)})" for title, names in PANELS.items())}

examples:
  stepcoder-trl plot runs/stepcoder
  stepcoder-trl plot runs/ppo runs/stepcoder --metrics executor/passed loss/policy_avg --out compared.png
"""
_STATE, _CURVES = "trainer_state.json", "curves.jsonl"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the verb."""
    add = parser.add_argument
    add("runs", nargs="+", metavar="RUN", help="Plot these run directories or log files together.")
    add("--out", metavar="FILE", help="Write the plot to FILE (default: curves.png in the first RUN).")
    add("--metrics", nargs="+", metavar="NAME", help="Plot these metrics, one panel each (default: see below).")


def run(arguments: argparse.Namespace) -> int:
    """Plot the curves and return the exit status."""
    if not can_plot():
        raise BadInputError(MISSING)
    histories = {_name(path, arguments.runs): read_history(Path(path)) for path in arguments.runs}
    wanted = {name: (name,) for name in arguments.metrics} if arguments.metrics else PANELS
    panels = {title: _curves(histories, names) for title, names in wanted.items()}
    if arguments.metrics and not all(panels.values()):
        missing = next(title for title, curves in panels.items() if not curves)
        known = sorted({name for history in histories.values() for entry in history for name in entry})
        raise BadInputError(f"No run has the metric {missing!r}. Available metrics: {', '.join(known)}.")
    panels = {title: curves for title, curves in panels.items() if curves}
    if not panels:
        raise BadInputError(f"{arguments.runs[0]}: no default metric was logged. Select metrics by `--metrics`.")
    first = Path(arguments.runs[0])
    out = Path(arguments.out or (first if first.is_dir() else first.parent) / "curves.png")
    if not out.parent.is_dir():
        raise BadInputError(f"{out}: the folder does not exist. Create it, or choose another one by `--out`.")
    plot_curves(panels, out)
    print(f"Wrote {len(panels)} panels of {len(histories)} runs to {out}.")
    return 0


def _name(path: str, paths: Sequence[str]) -> str:
    """Return the name of a run: the last part of its path if that is unique, else the path."""
    names = [Path(one).resolve().name for one in paths]
    name = Path(path).resolve().name
    return name if names.count(name) == 1 else path


def read_history(path: Path) -> list[dict[str, Any]]:
    """Read the logged entries of a run. Each has the number of its update as `step`."""
    file = _log_file(path)
    if file.suffix == ".jsonl":
        rows = [row.fields for row in read_rows(file) if row.fields.get("phase") != "sft"]
        entries: Any = [{**row, "step": row.get("update")} for row in rows]
    else:
        try:
            state = parse_json(file.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise BadInputError(f"{file}: cannot be read ({error}). Pass another run.") from None
        entries = state.get("log_history") if isinstance(state, dict) else None
        if not isinstance(entries, list):
            raise BadInputError(f"{file}: has no `log_history`. Pass a run directory of the trainer.")
    return [entry for entry in entries if isinstance(entry.get("step"), int)]


def _log_file(path: Path) -> Path:
    if path.is_file():
        return path
    numbered = [
        (int(found[1]), one) for one in path.glob("checkpoint-*") if (found := re.search(r"-(\d+)$", one.name))
    ]
    candidates = [one / _STATE for _, one in sorted(numbered, reverse=True)] + [path / _STATE, path / _CURVES]
    for candidate in candidates:
        if candidate.is_file():
            return candidate
    raise BadInputError(
        f"{path}: there is neither a checkpoint with {_STATE} nor {_CURVES}. Pass a run directory. Runs with "
        "`save_strategy: no` write no log."
    )


def _curves(histories: dict[str, list[dict[str, Any]]], names: Sequence[str]) -> dict[str, list[tuple[float, float]]]:
    """Return the curve of each run that logged one of these metrics, by name of the run."""
    curves = {}
    for run_name, history in histories.items():
        for name in names:
            points = [(entry["step"], entry[name]) for entry in history if isinstance(entry.get(name), (int, float))]
            if points:
                curves[run_name] = points
    return curves
