"""From the runs of a setting to means, intervals and paired differences."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from benchmarks.ablation.intervals import Difference, Estimate, area, estimate, paired_difference
from benchmarks.ablation.settings import ARMS, Job, Setting


Run = Mapping[str, Any]  # what benchmarks/ablation/run.py writes
SETS = ("training", "heldout")


@dataclass(frozen=True)
class Runs:
    """
    Finished runs of a setting.

    Attributes:
        setting (`Setting`): Setting.
        by_arm (`dict[str, dict[int, Run]]`): Per arm, in the order of `ARMS`, the run of each seed.
    """

    setting: Setting
    by_arm: dict[str, dict[int, Run]]

    def start(self, seed: int) -> Mapping[str, float]:
        """Point at which all arms of a seed begin: the fine-tuned model."""
        point: Mapping[str, float] = self.by_arm["sft"][seed]["points"][0]
        return point

    def curve(self, arm: str, seed: int, name: str, axis: str = "rollouts") -> list[tuple[float, float]]:
        """Learning curve of a run from the fine-tuned model on."""
        run = self.by_arm[arm][seed]
        points = [self.start(seed), *run["points"]] if arm != "sft" else run["points"]
        return [(point[axis], point[name]) for point in points]

    @property
    def rollouts(self) -> int:
        """Completions that a run trains on."""
        return self.setting.updates * self.setting.rollouts_per_update

    def shared_cpu_s(self, seed: int) -> float:
        """CPU seconds that all finished arms which learn from tests have spent on a seed."""
        trained = (runs[seed] for arm, runs in self.by_arm.items() if ARMS[arm].reinforced and seed in runs)
        return min((run["points"][-1]["cpu_s"] for run in trained), default=0.0)


def read_runs(setting: Setting, work: Path) -> Runs:
    """Read what is finished. Seeds without the fine-tuned model's own evaluation are left out."""
    by_arm: dict[str, dict[int, Run]] = {}
    for arm in ARMS:
        pattern = Job(setting, arm, 0).path(work)
        paths = pattern.parent.glob(f"{pattern.stem.removesuffix('0')}*.json")
        runs = [json.loads(path.read_text()) for path in paths]
        by_arm[arm] = {run["seed"]: run for run in sorted(runs, key=lambda run: run["seed"])}
    begun = set(by_arm["sft"])
    kept = {arm: {seed: run for seed, run in runs.items() if seed in begun} for arm, runs in by_arm.items()}
    return Runs(setting, {arm: runs for arm, runs in kept.items() if runs})


# What is compared: a number per run, by its name in the results.


def _curve_mean(runs: Runs, arm: str, seed: int, name: str) -> float:
    if arm == "sft":
        return runs.start(seed)[name]
    return area(runs.curve(arm, seed, name), runs.rollouts)


def _curve_mean_by_cpu(runs: Runs, arm: str, seed: int, name: str) -> float:
    if arm == "sft":
        return runs.start(seed)[name]
    return area(runs.curve(arm, seed, name, "cpu_s"), runs.shared_cpu_s(seed))


def _end(runs: Runs, arm: str, seed: int, name: str) -> float:
    return runs.curve(arm, seed, name)[-1][1]


MEASURES: dict[str, Callable[[Runs, str, int, str], float]] = {
    "curve": _curve_mean,
    "curve_by_cpu": _curve_mean_by_cpu,
    "end": _end,
}


def values(runs: Runs, arm: str, measure: str, name: str) -> dict[int, float]:
    """A measure of each seed of an arm."""
    return {seed: MEASURES[measure](runs, arm, seed, name) for seed in runs.by_arm[arm]}


def difference(runs: Runs, arm: str, other: str, measure: str, name: str) -> dict[str, Any] | None:
    """Paired difference between two arms over the seeds that both have, and the gain relative to the other's mean."""
    mine, theirs = (values(runs, one, measure, name) for one in (arm, other))
    seeds = sorted(mine.keys() & theirs.keys())
    if not seeds:
        return None
    base = fmean(theirs[seed] for seed in seeds)
    found = paired_difference([mine[seed] for seed in seeds], [theirs[seed] for seed in seeds])
    return {**rounded(asdict(found)), "relative": round(found.mean / base, 3) if base else None}


def gain(runs: Runs, arm: str, other: str, name: str, rollouts: int) -> Difference | None:
    """Paired difference between two arms over the curve up to a number of rollouts; `None` if no seed has both."""
    seeds = sorted(runs.by_arm.get(arm, {}).keys() & runs.by_arm.get(other, {}).keys())
    if not seeds:
        return None
    mine, theirs = ([area(runs.curve(one, seed, name), rollouts) for seed in seeds] for one in (arm, other))
    return paired_difference(mine, theirs)


def start(runs: Runs) -> dict[str, Estimate]:
    """How the fine-tuned models' completions from scratch fare in training: shares that pass and that do not run."""
    found = [run["start"] for run in runs.by_arm["sft"].values() if "start" in run]  # the first runs did not ask
    return {name: estimate([one[name] for one in found]) for name in (found[0] if found else ())}


def summarize(runs: Runs, pairs: Sequence[tuple[str, str]]) -> dict[str, Any]:
    """
    All that is said about a setting, as values that JSON can hold.

    Args:
        runs ([`Runs`]):
            Finished runs.
        pairs (`Sequence[tuple[str, str]]`):
            Arms to compare, the second as the base.

    Returns:
        `dict[str, Any]`: `arms` and `differences`, by measure and set of problems; `training`, what happened on the
        way, in means over updates and seeds.
    """
    present = [(arm, other) for arm, other in pairs if arm in runs.by_arm and other in runs.by_arm]
    return {
        "arms": {
            arm: {
                "seeds": sorted(runs.by_arm[arm]),
                **{
                    f"{name}_{measure}": rounded(asdict(estimate(list(values(runs, arm, measure, name).values()))))
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
        "training": {arm: _training(list(runs.by_arm[arm].values())) for arm in runs.by_arm if ARMS[arm].reinforced},
        "sft": {seed: run["sft"] for seed, run in runs.by_arm["sft"].items()},
        "start": {name: rounded(asdict(share)) for name, share in start(runs).items()},
    }


def _training(runs: Sequence[Run]) -> dict[str, float]:
    """Means over seeds of what happened in training."""

    def mean(name: str) -> float:
        return fmean(fmean(update[name] for update in run["updates"]) for run in runs)

    def last(name: str) -> float:
        return fmean(run["updates"][-1][name] for run in runs)

    found = {
        "reward_rate_first": fmean(run["updates"][0]["reward_rate"] for run in runs),
        "reward_rate": mean("reward_rate"),
        "unexecuted_share": mean("unexecuted_share"),
        "scratch_share_end": last("scratch_share"),
        "scratch_reached_rollouts": fmean(_rollouts_to_scratch(run) for run in runs),
        "mean_length": mean("mean_length"),
        "kl_end": last("kl"),
        "cpu_s": fmean(run["points"][-1]["cpu_s"] for run in runs),
    }
    return rounded(found)


def _rollouts_to_scratch(run: Run, share: float = 0.9) -> float:
    """Rollouts after which most problems were at scratch; infinite if they never were."""
    per_update = run["points"][-1]["rollouts"] / run["points"][-1]["update"]
    for number, update in enumerate(run["updates"], start=1):
        if update["scratch_share"] >= share:
            return per_update * number
    return math.inf


def curves(runs: Runs, arm: str, name: str, axis: str = "rollouts") -> list[tuple[float, Estimate]]:
    """Mean learning curve of an arm, point by point, with intervals over seeds; the axis in means."""
    seeds = list(runs.by_arm[arm])
    lines = [runs.curve(arm, seed, name, axis) for seed in seeds]
    return [(fmean(x for x, _ in points), estimate([y for _, y in points])) for points in zip(*lines, strict=True)]


def training_curve(runs: Runs, arm: str, name: str) -> list[tuple[float, Estimate]]:
    """Mean of a metric of training, update by update, against rollouts."""
    histories = [run["updates"] for run in runs.by_arm[arm].values()]
    return [
        ((number + 1) * runs.setting.rollouts_per_update, estimate([update[name] for update in updates]))
        for number, updates in enumerate(zip(*histories, strict=True))
    ]


def rounded(figures: Mapping[str, Any]) -> dict[str, Any]:
    """To five digits after the point; what is not a finite number becomes `None`."""
    return {name: _round(value) for name, value in figures.items()}


def _round(value: Any) -> Any:
    if not isinstance(value, float):
        return value
    return round(value, 5) if math.isfinite(value) else None
