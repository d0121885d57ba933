"""Figures of the samples of the stages, with 95 % intervals that resample problems."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from benchmarks.ablation.report import markdown_table
from stepcoder_trl import Outcome
from stepcoder_trl.rewards import SCORES


Row = Mapping[str, Any]  # of a problem, as `stages.py` writes it
Stage = Mapping[str, Any]  # of such a row
Ratio = tuple[float, float]  # numerator and denominator. A figure is the ratio of their sums over problems
Interval = dict[str, float]

RESAMPLES = 10_000
PLACES: dict[str, Callable[[Sequence[Stage]], Sequence[Stage]]] = {
    "first": lambda stages: stages[:1],
    "between": lambda stages: stages[1:-1],
    "scratch": lambda stages: stages[-1:],
}


def _outcomes(stage: Stage) -> list[str]:
    """Return the outcomes of the samples that were judged."""
    return [one for one in stage["outcomes"] if one is not None]


def _passes(stage: Stage) -> tuple[int, int]:
    outcomes = _outcomes(stage)
    return outcomes.count("passed"), len(outcomes)


def _mixed(stage: Stage) -> bool:
    passed, judged = _passes(stage)
    return 0 < passed < judged


def _spread(scores: Sequence[float]) -> bool:
    return len(set(scores)) > 1


FIGURES: dict[str, Callable[[Stage], Ratio]] = {
    "pass rate": lambda stage: (_passes(stage)[0] / _passes(stage)[1], 1.0),
    "a pass": lambda stage: (float(_passes(stage)[0] > 0), 1.0),
    "all pass": lambda stage: (float(_passes(stage)[0] == _passes(stage)[1]), 1.0),
    "some pass, not all": lambda stage: (float(_mixed(stage)), 1.0),
    "scores differ": lambda stage: (float(_spread([SCORES[Outcome(one)] for one in _outcomes(stage)])), 1.0),
    "mean scores differ": lambda stage: (float(_spread([s for s in stage["mean_scores"] if s is not None])), 1.0),
    "tokens that FGO leaves out": lambda stage: (sum(stage["tokens"]) - sum(stage["kept"]), sum(stage["tokens"])),
    "cut at the limit": lambda stage: (stage["ended"].count(False) / len(stage["ended"]), 1.0),
    "tokens a completion": lambda stage: (sum(stage["tokens"]) / len(stage["tokens"]), 1.0),
}


def ratio_of(stages: Sequence[Stage], figure: str) -> Ratio | None:
    """Return the mean ratio of a figure over the stages of one problem. `None` without a judged sample."""
    found = [FIGURES[figure](stage) for stage in stages if _outcomes(stage)]
    if not found:
        return None
    above, below = zip(*found, strict=True)
    return sum(above) / len(above), sum(below) / len(below)


def interval(ratios: Sequence[Ratio], others: Sequence[Ratio] | None = None) -> Interval:
    """
    Return a ratio of sums over problems with its 95 % bootstrap interval.

    With `others`, which are of the same problems, it is the difference `ratios - others`.

    Args:
        ratios, others (`Sequence` of pairs): Numerator and denominator of each problem, at least one.

    Returns:
        `dict`: `value`, `low`, `high` and `problems`.
    """
    size = len(ratios)
    drawn = np.random.default_rng(0).multinomial(size, [1 / size] * size, size=RESAMPLES)
    counts = np.vstack([np.ones(size, dtype=drawn.dtype), drawn])  # the first row is the whole sample
    values = _ratio(counts, ratios) - (0.0 if others is None else _ratio(counts, others))
    low, high = np.quantile(values[1:], [0.025, 0.975])
    return {"value": float(values[0]), "low": float(low), "high": float(high), "problems": size}


def _ratio(counts: Any, ratios: Sequence[Ratio]) -> Any:
    above, below = np.array(ratios, dtype=float).T
    return (counts @ above) / (counts @ below)


def summarize(rows: Sequence[Row]) -> dict[str, Any]:
    """
    Return the figures of each set.

    Returns:
        `dict`: For each set its number of `problems`, and of `failing` solutions; `places`, the figures of the first
        stage, of those between and of scratch; `first - scratch`, their paired differences; `outcomes`, counted; and
        `by scratch`, the figures of the first stage where none, some or all samples pass from scratch.
    """
    names = dict.fromkeys(row["set"] for row in rows)
    return {name: _of_set([row for row in rows if row["set"] == name]) for name in names}


def _of_set(rows: Sequence[Row]) -> dict[str, Any]:
    measured = [row["stages"] for row in rows if "stages" in row]
    return {
        "problems": len(measured),
        "failing": len(rows) - len(measured),
        "places": {place: figures([pick(stages) for stages in measured]) for place, pick in PLACES.items()},
        "first - scratch": differences(measured),
        "outcomes": {
            place: Counter(one for stages in measured for stage in pick(stages) for one in _outcomes(stage))
            for place, pick in PLACES.items()
        },
        "by scratch": {name: figures(chosen) for name, chosen in _by_scratch(measured).items()},
    }


def figures(problems: Sequence[Sequence[Stage]]) -> dict[str, Interval]:
    """Return each figure over problems, given the stages of each. Problems without a stage are left out."""
    found = {}
    for figure in FIGURES:
        ratios = [one for one in (ratio_of(stages, figure) for stages in problems) if one is not None]
        if ratios:
            found[figure] = interval(ratios)
    return found


def differences(problems: Sequence[Sequence[Stage]]) -> dict[str, Interval]:
    """Return for each figure its value at the first stage minus that from scratch, paired by problem."""
    found = {}
    for figure in FIGURES:
        pairs = [(ratio_of(stages[:1], figure), ratio_of(stages[-1:], figure)) for stages in problems]
        both = [(first, scratch) for first, scratch in pairs if first is not None and scratch is not None]
        if both:
            first, scratch = zip(*both, strict=True)
            found[figure] = interval(first, scratch)
    return found


def _by_scratch(problems: Sequence[Sequence[Stage]]) -> dict[str, list[Sequence[Stage]]]:
    """Return the first stages of the problems of which none, some or all samples pass from scratch."""
    groups: dict[str, list[Sequence[Stage]]] = {"none": [], "some": [], "all": []}
    for stages in problems:
        passed, judged = _passes(stages[-1])
        if judged:
            groups["none" if not passed else "all" if passed == judged else "some"].append(stages[:1])
    return groups


# Tables


def tables(summary: Mapping[str, Any], settings: Mapping[str, Any]) -> str:
    """Return the figures as tables in Markdown, in percent."""
    parts = [
        f"Each stage was sampled {settings['samples']} times. Percent, with 95 % intervals that resample problems. "
        "Generated by `python -m benchmarks.real_model stages`."
    ]
    for name, found in summary.items():
        parts += [f"## {name}", _places_table(found), _outcomes_line(found), _by_scratch_table(found)]
    return "\n\n".join(parts) + "\n"


def _places_table(found: Mapping[str, Any]) -> str:
    columns = {**found["places"], "first - scratch": found["first - scratch"]}
    columns = {name: cells for name, cells in columns.items() if cells}
    head = [f"{found['problems']} problems", *columns]
    sizes = ["problems", *(str(next(iter(cells.values()))["problems"]) for cells in columns.values())]
    rows = [[figure, *(_cell(cells, figure, "-" in name) for name, cells in columns.items())] for figure in FIGURES]
    return markdown_table(head, [sizes, *rows])


def _by_scratch_table(found: Mapping[str, Any]) -> str:
    shown = ("pass rate", "a pass", "all pass", "some pass, not all", "scores differ", "tokens that FGO leaves out")
    rows = [
        [name, str(cells["pass rate"]["problems"]), *(_cell(cells, figure) for figure in shown)]
        for name, cells in found["by scratch"].items()
        if cells
    ]
    return markdown_table(["pass from scratch", "problems", *(f"first: {figure}" for figure in shown)], rows)


def _outcomes_line(found: Mapping[str, Any]) -> str:
    texts = []
    for place, counts in found["outcomes"].items():
        if counts:
            parts = ", ".join(f"{counts.get(outcome, 0)} {outcome}" for outcome in map(str, SCORES))
            texts.append(f"{place}: {parts}")
    return f"Samples by outcome. {'; '.join(texts)}."


def _cell(cells: Mapping[str, Interval], figure: str, signed: bool = False) -> str:
    if figure not in cells:
        return ""
    one = cells[figure]
    scale = 1 if figure.startswith("tokens a") else 100
    form = "+.0f" if signed else ".0f"
    value, low, high = (f"{scale * one[key]:{form}}" for key in ("value", "low", "high"))
    return f"{value} [{low}, {high}]"
