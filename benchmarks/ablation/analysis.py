"""Means, intervals and paired differences of a setting's runs."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Any

from benchmarks.ablation.intervals import Estimate, area, estimate, paired_difference
from benchmarks.ablation.settings import ARMS, REINFORCED, Job, Setting


Run = Mapping[str, Any]  # written by benchmarks/ablation/run.py
SETS = ("training", "heldout")
AT_SCRATCH = 0.9  # a curriculum has ended when this share of problems is at scratch


@dataclass(frozen=True)
class Runs:
    """Finished runs of a setting."""

    setting: Setting
    by_arm: dict[str, dict[int, Run]]  # the run of each seed, per arm in the order of `ARMS`

    def start(self, seed: int) -> Mapping[str, float]:
        """Return the evaluation of the fine-tuned model, from which all arms of a seed start."""
        point: Mapping[str, float] = self.by_arm["sft"][seed]["points"][0]
        return point

    def curve(self, arm: str, seed: int, name: str, axis: str = "rollouts") -> list[tuple[float, float]]:
        """Return the learning curve of a run, starting with the fine-tuned model."""
        run = self.by_arm[arm][seed]
        points = [self.start(seed), *run["points"]] if arm != "sft" else run["points"]
        return [(point[axis], point[name]) for point in points]


def read_runs(setting: Setting, work: Path) -> Runs:
    """
    Read the finished runs.

    Seeds without an evaluation of the fine-tuned model are left out. Runs that started from another model or other
    problems cannot be paired: they are left out with a message.
    """
    by_arm: dict[str, dict[int, Run]] = {}
    for arm in ARMS:
        pattern = Job(setting, arm, 0).path(work)
        paths = pattern.parent.glob(f"{pattern.stem.removesuffix('0')}*.json")
        runs = [json.loads(path.read_text()) for path in paths]
        by_arm[arm] = {run["seed"]: run for run in sorted(runs, key=lambda run: run["seed"])}
    bases = {seed: run.get("material") for seed, run in by_arm["sft"].items()}
    kept: dict[str, dict[int, Run]] = {}
    for arm, by_seed in by_arm.items():
        begun = {seed: run for seed, run in by_seed.items() if seed in bases}
        fitting = {seed: run for seed, run in begun.items() if run.get("material") == bases[seed]}
        for seed in begun.keys() - fitting.keys():
            print(f"{setting.name}, {ARMS[arm].label}, seed {seed}: left out: it started from another model than SFT.")
        if fitting:
            kept[arm] = fitting
    return Runs(setting, kept)


# Measures that give one number per run, by their names in the results, with the axis of the curve.
MEASURES = {"curve": "rollouts", "curve_by_cpu": "cpu_s", "end": "rollouts"}


def value(runs: Runs, arm: str, seed: int, measure: str, name: str, until: float | None = None) -> float:
    """Return a measure of a run. Its curve is cut at `until`, by default at its end."""
    points = runs.curve(arm, seed, name, MEASURES[measure])
    end, last = points[-1]
    if measure == "end" or len(points) == 1:  # the arm that does not train has one point
        return last
    return area(points, end if until is None else until)


def values(runs: Runs, arm: str, measure: str, name: str) -> list[float]:
    """Return a measure of each seed of an arm."""
    return [value(runs, arm, seed, measure, name) for seed in runs.by_arm[arm]]


def difference(
    runs: Runs, arm: str, other: str, measure: str, name: str, rollouts: int | None = None
) -> dict[str, Any] | None:
    """
    Return the paired difference between two arms over the seeds that both have, or `None` if there are none.

    Curves are cut at `rollouts`, by default at their ends. With `curve_by_cpu` they are cut where the seed's cheaper
    run ends. `relative` is the gain divided by the other arm's mean.
    """
    seeds = sorted(runs.by_arm.get(arm, {}).keys() & runs.by_arm.get(other, {}).keys())
    if not seeds:
        return None
    mine, theirs = [], []
    for seed in seeds:
        until: float | None = rollouts
        if measure == "curve_by_cpu":
            until = min(runs.curve(one, seed, name, "cpu_s")[-1][0] for one in (arm, other) if one != "sft")
        mine.append(value(runs, arm, seed, measure, name, until))
        theirs.append(value(runs, other, seed, measure, name, until))
    base, found = fmean(theirs), paired_difference(mine, theirs)
    return {**rounded(asdict(found)), "relative": round(found.mean / base, 3) if base else None}


def change_of_gain(
    runs: Runs, others: Runs, pair: tuple[str, str], measure: str, name: str, rollouts: int
) -> dict[str, Any] | None:
    """
    Return how much more an arm gains over another in one setting than in another setting, paired by seed.

    Seeds with different problems or fine-tuned models are left out. `None` if no seed is left.
    """
    seeds = [
        seed
        for seed, run in runs.by_arm["sft"].items()
        if run["material"] == others.by_arm["sft"].get(seed, {}).get("material")
        and all(seed in one.by_arm.get(arm, {}) for one in (runs, others) for arm in pair)
    ]
    if not seeds:
        return None

    def gains(one: Runs) -> list[float]:
        mine, theirs = ([value(one, arm, seed, measure, name, rollouts) for seed in seeds] for arm in pair)
        return [a - b for a, b in zip(mine, theirs, strict=True)]

    return rounded(asdict(paired_difference(gains(runs), gains(others))))


def shares_at_start(runs: Runs) -> dict[str, Estimate]:
    """Return shares of the fine-tuned models' completions from scratch: those that pass, and tokens that never run."""
    found = [run["start"] for run in runs.by_arm["sft"].values() if "start" in run]  # the oldest runs lack it
    return {name: estimate([one[name] for one in found]) for name in (found[0] if found else ())}


def summarize(runs: Runs, pairs: Sequence[tuple[str, str]]) -> dict[str, Any]:
    """Return the results of a setting as values for JSON. The second arm of a pair is the base."""
    present = [(arm, other) for arm, other in pairs if arm in runs.by_arm and other in runs.by_arm]
    return {
        "arms": {
            arm: {
                "seeds": sorted(runs.by_arm[arm]),
                **{
                    f"{name}_{measure}": rounded(asdict(_share(values(runs, arm, measure, name))))
                    for measure in MEASURES
                    for name in SETS
                },
            }
            for arm in runs.by_arm
        },
        "differences": {
            f"{arm} - {other}": {
                f"{name}_{measure}": difference(runs, arm, other, measure, name)
                for measure in MEASURES
                for name in SETS
            }
            for arm, other in present
        },
        "training": {arm: _training(list(runs.by_arm[arm].values())) for arm in runs.by_arm if arm in REINFORCED},
        "sft": {seed: run["sft"] for seed, run in runs.by_arm["sft"].items()},
        "start": {name: rounded(asdict(share)) for name, share in shares_at_start(runs).items()},
    }


def _share(shares: Sequence[float]) -> Estimate:
    """Return the mean of shares, with its interval cut to [0, 1]."""
    found = estimate(shares)
    return replace(found, low=max(found.low, 0.0), high=min(found.high, 1.0)) if found.n > 1 else found


def _training(runs: Sequence[Run]) -> dict[str, float]:
    """
    Return training metrics as means over seeds, and the number of seeds whose curriculum ended.

    PPO has no metrics of groups, and GRPO here no KL.
    """
    ends = [run["updates"][-1] for run in runs]

    def mean(name: str) -> float:
        return fmean(fmean(update[name] for update in run["updates"]) for run in runs)

    def last(name: str) -> float:
        return fmean(update[name] for update in ends)

    found = {
        "reward_rate_first": fmean(run["updates"][0]["reward_rate"] for run in runs),
        "reward_rate": mean("reward_rate"),
        "unexecuted_share": mean("unexecuted_share"),
        "scratch_share_end": last("scratch_share"),
        "scratch_reached_seeds": sum(last["scratch_share"] >= AT_SCRATCH for last in ends),
        "mean_length": mean("mean_length"),
        **({"kl_end": last("kl")} if "kl" in ends[0] else {}),
        **{name: mean(name) for name in ("none_pass", "all_pass") if name in ends[0]},
        "cpu_s": fmean(run["points"][-1]["cpu_s"] for run in runs),
    }
    return rounded(found)


def curves(runs: Runs, arm: str, name: str, axis: str = "rollouts") -> list[tuple[float, Estimate]]:
    """Return the mean learning curve of an arm with intervals over seeds. The x values are means, too."""
    seeds = list(runs.by_arm[arm])
    lines = [runs.curve(arm, seed, name, axis) for seed in seeds]
    return [(fmean(x for x, _ in points), estimate([y for _, y in points])) for points in zip(*lines, strict=True)]


def training_curve(runs: Runs, arm: str, name: str) -> list[tuple[float, Estimate]]:
    """Return the mean of a training metric per update, with the number of rollouts so far."""
    histories = [run["updates"] for run in runs.by_arm[arm].values()]
    begun = ARMS[arm].imitates_first
    return [
        ((begun + number + 1) * runs.setting.rollouts_per_update, estimate([update[name] for update in updates]))
        for number, updates in enumerate(zip(*histories, strict=True))
    ]


def rounded(figures: Mapping[str, Any]) -> dict[str, Any]:
    """Round floats to five decimals. Infinities and NaN become `None`."""
    return {name: _round(value) for name, value in figures.items()}


def _round(value: Any) -> Any:
    if not isinstance(value, float):
        return value
    return round(value, 5) if math.isfinite(value) else None
