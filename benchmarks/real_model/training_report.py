"""Results of the training runs, with intervals that resample seeds and problems."""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.ablation.report import markdown_table
from benchmarks.real_model import train


RESAMPLES = 10_000
METRICS = ("step", "executor/passed", "fgo/kept_share", "curriculum/scratch_share", "objective/kl", "reward")

Rates = Mapping[str, float]  # pass rate by problem


def report(work: Path, updates: int, held_out: Sequence[str]) -> dict[str, Any]:
    """
    Return the results of the runs that are evaluated, of the seeds that have all arms of the first such seed.

    Args:
        work (`Path`): Folder of the runs.
        updates (`int`): Updates of the runs.
        held_out (`Sequence[str]`): Names of the held-out problems. The others are trained on.
    """
    done = {seed: [arm for arm in train.ARMS if _is_done(work, seed, arm, updates)] for seed in train.SEEDS}
    arms = next((arms for arms in done.values() if arms), [])
    seeds = [seed for seed, found in done.items() if arms and set(arms) <= set(found)]
    rates = {
        (seed, arm): pass_rates(train.evaluation_folder(work, seed, arm, updates)) for seed in seeds for arm in arms
    }
    initial = pass_rates(work / "initial") if train.is_evaluated(work / "initial") else {}
    sets = {"held-out": set(held_out), "training": set(initial) - set(held_out)}
    return {
        "updates": updates,
        "seeds": seeds,
        "arms": {arm: train.ARMS[arm] for arm in arms},
        "recipe": {**train.RECIPE, "lora_rank": train.LORA_RANK},
        "samples_per_problem": train.EVALUATION_SAMPLES,
        "curves": {
            f"{arm}, seed {seed}": _curve(train.history(train.run_folder(work, seed, arm)))
            for seed in seeds
            for arm in arms
        },
        "pass@1": {
            name: compare(_of(names, initial), [{arm: _of(names, rates[seed, arm]) for arm in arms} for seed in seeds])
            for name, names in sets.items()
            if seeds
        },
    }


def _is_done(work: Path, seed: int, arm: str, updates: int) -> bool:
    return train.is_evaluated(train.evaluation_folder(work, seed, arm, updates))


def _of(names: set[str], rates: Rates) -> dict[str, float]:
    return {task: rate for task, rate in rates.items() if task in names}


def _curve(log: Sequence[Mapping[str, float]]) -> list[dict[str, float]]:
    return [{name: entry[name] for name in METRICS if name in entry} for entry in log if "executor/passed" in entry]


def pass_rates(folder: Path) -> dict[str, float]:
    """Return each problem's share of passing samples. Samples that could not be run are left out."""
    by_task: dict[str, list[bool]] = {}
    for line in (folder / "results.jsonl").read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        if row["passed"] is not None:
            by_task.setdefault(row["task_id"], []).append(row["passed"])
    return {task: statistics.fmean(passed) for task, passed in by_task.items()}


def compare(initial: Rates, by_seed: Sequence[Mapping[str, Rates]]) -> dict[str, Any]:
    """
    Compare the pass rates of the arms and of the initial model on the same problems.

    Return an [`interval`] for `"initial"`, each arm, and each arm's difference from the first. `"by seed"` has the
    means.
    """
    first, *others = by_seed[0]
    columns: dict[str, list[Rates]] = {name: [] for name in ("initial", *by_seed[0])}
    columns.update({f"{arm} - {first}": [] for arm in others})
    for rates in by_seed:
        problems = [task for task in initial if all(task in of_arm for of_arm in rates.values())]
        columns["initial"].append({task: initial[task] for task in problems})
        for arm, of_arm in rates.items():
            columns[arm].append({task: of_arm[task] for task in problems})
        for arm in others:
            columns[f"{arm} - {first}"].append({task: rates[arm][task] - rates[first][task] for task in problems})
    means = {name: [statistics.fmean(values.values()) for values in column] for name, column in columns.items()}
    return {**{name: interval(column) for name, column in columns.items()}, "by seed": means}


def interval(by_seed: Sequence[Rates]) -> dict[str, float]:
    """
    Return a mean with a 95 % bootstrap interval over seeds and problems. With few seeds the interval is too narrow.

    If all seeds have the same problems, these are resampled once for all seeds, otherwise in each seed.
    """
    draw, seeds = np.random.default_rng(0), len(by_seed)
    shared = all(values.keys() == by_seed[0].keys() for values in by_seed)
    tables = [np.array([values[task] for task in (by_seed[0] if shared else values)]) for values in by_seed]
    chosen = draw.integers(seeds, size=(seeds, RESAMPLES))
    common = _resampled(draw, len(tables[0]))
    totals = np.zeros(RESAMPLES)
    for slot in chosen:
        counts = [common if shared else _resampled(draw, len(table)) for table in tables]
        means = np.stack([weights @ table for weights, table in zip(counts, tables, strict=True)])
        totals += means[slot, np.arange(RESAMPLES)]
    low, high = np.quantile(totals / seeds, [0.025, 0.975])
    value = statistics.fmean(float(table.mean()) for table in tables)
    return {"value": value, "low": float(low), "high": float(high)}


def _resampled(draw: np.random.Generator, size: int) -> Any:
    """Return weights of `size` problems in each resample."""
    return draw.multinomial(size, [1 / size] * size, size=RESAMPLES) / size


def table(result: Mapping[str, Any]) -> str:
    """Return the pass rates as tables in Markdown."""
    parts = []
    for problems, found in result["pass@1"].items():
        rows = [
            [
                name,
                f"{one['value']:.3f} [{one['low']:.3f}, {one['high']:.3f}]",
                ", ".join(f"{value:.3f}" for value in found["by seed"][name]),
            ]
            for name, one in found.items()
            if name != "by seed"
        ]
        parts.append(markdown_table([f"pass@1, {problems} problems", "all seeds", "by seed"], rows))
    return "\n\n".join(parts) + "\n" if parts else "No seed has all its arms evaluated yet.\n"
