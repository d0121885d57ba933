"""`stepcoder-trl overlap`: count the lines that benchmark solutions share with training solutions."""

from __future__ import annotations

import argparse
import math
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from stepcoder_trl.cli.outputs import check_outputs
from stepcoder_trl.data.formats import FORMAT_TITLES, load_problems
from stepcoder_trl.data.problems import Problem
from stepcoder_trl.errors import BadInputError
from stepcoder_trl.jsonl import write_json, write_rows
from stepcoder_trl.metrics import LineOverlap, line_overlaps
from stepcoder_trl.reports.plots import plot_histograms


BINS = 10
EPILOG = f"""Rule (Austin et al., arXiv:2108.07732; StepCoder, Figure 3): lines are stripped, then compared. Blank
lines and the starter code are left out. Lines that occur more than twice in the benchmark's solutions (return,
continue) are not counted. The share of a problem without counted lines is null.

BENCHMARK and TRAIN are problem files: JSONL, .jsonl.gz, JSON array or parquet. Their formats:
  {FORMAT_TITLES}
rows of the output, in BENCHMARK's order: {{"id": task_id, "share": float or null, "lines": int, "duplicated": int}}

example:
  stepcoder-trl overlap humaneval.jsonl --train apps_plus.jsonl --out overlap.jsonl --histogram overlap.png
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the verb."""
    add = parser.add_argument
    add("benchmark", metavar="BENCHMARK", help="Read the benchmark's problems from this file.")
    add("--train", required=True, nargs="+", metavar="TRAIN", help="Read the training problems from these files.")
    add("--out", default="-", metavar="FILE", help="Write the shares per task to this JSONL file (default: stdout).")
    add("--train-out", metavar="FILE", help="Write the shares of the training solutions to this JSONL file.")
    add("--summary", metavar="FILE", help="Write the printed figures to this JSON file.")
    add("--histogram", metavar="PNG", help="Write a histogram of both directions to this file.")


def run(arguments: argparse.Namespace) -> int:
    """Compare all solutions and return the exit status."""
    if arguments.histogram and not Path(arguments.histogram).parent.is_dir():
        raise BadInputError(f"`--histogram` is {arguments.histogram!r}, but its folder does not exist. Create it.")
    outputs = {_flag(name): vars(arguments)[name] for name in ("out", "train_out", "summary", "histogram")}
    check_outputs(outputs, [arguments.benchmark, *arguments.train])
    benchmark = load_problems(arguments.benchmark)
    train = [problem for path in arguments.train for problem in load_problems(path)]
    found = line_overlaps([_solution(problem) for problem in benchmark], [_solution(problem) for problem in train])
    if not any(overlap.lines for overlap in found[0]):
        raise BadInputError(f"{arguments.benchmark}: no solution has a counted line. Pass problems with solutions.")
    directions = {"benchmark": (benchmark, found[0]), "train": (train, found[1])}
    summary = {name: _summary(overlaps) for name, (_, overlaps) in directions.items()}
    if arguments.histogram:  # plot before writing rows: it raises if matplotlib is missing
        titles = {
            "benchmark": "Share of a benchmark solution's lines that occur in training solutions",
            "train": "Share of a training solution's lines that occur in benchmark solutions",
        }
        plot_histograms({titles[name]: figures["histogram"] for name, figures in summary.items()}, arguments.histogram)
    write_rows(arguments.out, map(_row, *directions["benchmark"]))
    if arguments.train_out:
        write_rows(arguments.train_out, map(_row, *directions["train"]))
    if arguments.summary:
        write_json(arguments.summary, summary)
    for name, figures in summary.items():
        print(_summary_text(name, figures), file=sys.stderr)
    return 0


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def _solution(problem: Problem) -> str:
    """Return the canonical solution without the starter code, which is given in the problem."""
    return problem.canonical_solution.removeprefix(problem.starter_code)


def _row(problem: Problem, overlap: LineOverlap) -> dict[str, Any]:
    return {"id": problem.task_id, "share": overlap.share, "lines": overlap.lines, "duplicated": overlap.duplicated}


def _summary(overlaps: Sequence[LineOverlap]) -> dict[str, Any]:
    shares = [overlap.share for overlap in overlaps if overlap.share is not None]
    bins = Counter(min(math.floor(share * BINS), BINS - 1) for share in shares)
    return {
        "problems": len(overlaps),
        "counted": len(shares),
        "mean_share": fmean(shares) if shares else None,
        "over_half": sum(share > 0.5 for share in shares),
        "histogram": {f"{number / BINS:.1f}-{(number + 1) / BINS:.1f}": bins[number] for number in range(BINS)},
    }


def _summary_text(name: str, figures: dict[str, Any]) -> str:
    if not figures["counted"]:
        return f"{name}: none of {figures['problems']} problems has a counted line"
    over_half = figures["over_half"] / figures["counted"]
    return (
        f"{name}: {figures['counted']} of {figures['problems']} problems have counted lines. On average "
        f"{figures['mean_share']:.1%} of these lines are duplicated. In {figures['over_half']} problems "
        f"({over_half:.1%}) more than half are duplicated."
    )
