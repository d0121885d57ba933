"""Writes the results: `results.json`, tables in Markdown, pictures."""

from __future__ import annotations

import importlib
import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.ablation.analysis import (
    SETS,
    Runs,
    change_of_gain,
    curves,
    difference,
    read_runs,
    shares_at_start,
    summarize,
    training_curve,
)
from benchmarks.ablation.files import write_json
from benchmarks.ablation.intervals import Estimate
from benchmarks.ablation.settings import ARMS, BEYOND, BY_GRPO, REINFORCED, Setting
from stepcoder_trl.reports.plots import MISSING, can_plot


NOT_BY_GRPO = tuple(arm for arm in ARMS if arm not in BY_GRPO)
# Every system against PPO, and StepCoder against itself without each part. The same on GRPO, and both against PPO's.
PAIRS = (
    *((arm, "ppo") for arm in NOT_BY_GRPO if arm not in ("sft", "ppo")),
    *(("stepcoder", arm) for arm in NOT_BY_GRPO if arm not in ("sft", "ppo", "stepcoder")),
    ("ppo", "sft"),
    *((arm, "grpo") for arm in BY_GRPO if arm != "grpo"),
    *(("grpo_stepcoder", arm) for arm in BY_GRPO if arm not in ("grpo", "grpo_stepcoder")),
    *(("mean_fgo", "mean"), ("mean_tests", "mean_fgo"), ("mean_tests", "mean_random"), ("mean_random", "mean_fgo")),
    *((arm, "imitation") for arm in ("imitating", "then_stepcoder", "then_mean")),
    ("then_stepcoder", "then_mean"),
    *(("grpo", "ppo"), ("grpo_stepcoder", "stepcoder"), ("grpo_mix", "mix"), ("grpo_adaptive", "adaptive")),
)
# Lines of a picture, and those of them with a band: more bands would hide the lines.
PICTURES = {
    "": (tuple(arm for arm in NOT_BY_GRPO if arm not in BEYOND), ("ppo", "stepcoder")),
    "_beyond": (("ppo", "stepcoder", "imitation", *BEYOND), ("mean", "imitating")),
    "_grpo": (("ppo", "stepcoder", *BY_GRPO), ("grpo", "grpo_stepcoder")),
}
# An arm with a part against the same arm without it.
GAINS = {
    "CCCS": ("stepcoder", "no_cccs"),
    "CCCS, without FGO": ("no_fgo", "ppo"),
    "FGO": ("stepcoder", "no_fgo"),
    "FGO, without CCCS": ("no_cccs", "ppo"),
    "FGO, over random masks": ("stepcoder", "random_mask"),
}
TITLES = {"training": "training", "heldout": "held-out"}


def write_report(settings: Sequence[Setting], work: Path, out: Path) -> list[str]:
    """Write the results of the finished runs in `work` to `out`. Return the names of the settings that have any."""
    found = {setting.name: read_runs(setting, work) for setting in settings}
    found = {name: runs for name, runs in found.items() if runs.by_arm}
    out.mkdir(parents=True, exist_ok=True)
    summaries = {name: summarize(runs, PAIRS) for name, runs in found.items()}
    write_json(out / "results.json", {name: _result(runs, summaries[name]) for name, runs in found.items()})
    texts = [tables(runs, summaries[name]) for name, runs in found.items()]
    compared = with_gains(found)
    if compared:
        texts.append(gains_table(compared))
    (out / "tables.md").write_text("\n".join(texts))
    if not can_plot():
        print(f"No pictures: {MISSING}")
        return list(found)
    for name, runs in found.items():
        for suffix, (arms, banded) in PICTURES.items():
            if runs.by_arm.keys() & set(banded):
                plot(runs, arms, banded, out / f"{name}{suffix}.png")
    if compared:
        plot_gains(compared, out / "gains.png")
    return list(found)


def _result(runs: Runs, summary: Mapping[str, Any]) -> dict[str, Any]:
    one = next(iter(runs.by_arm["sft"].values()))
    return {
        "setting": asdict(runs.setting),
        "machine": one["machine"],
        "versions": one["versions"],
        **summary,
        "runs": [run for by_seed in runs.by_arm.values() for run in by_seed.values()],
    }


# Tables


def tables(runs: Runs, summary: Mapping[str, Any]) -> str:
    """Return three tables of a setting: the arms, their paired differences, and metrics of training."""
    setting = runs.setting
    parts = [
        f"## {setting.name}",
        f"{setting.reason}",
        f"{setting.rollouts:,} rollouts a run, {setting.num_problems} training and "
        f"{setting.num_heldout} held-out problems per seed. pass@1, greedy, from scratch, under all tests; mean and "
        "95 % interval over seeds.",
        _arms_table(summary),
        _differences_table(summary),
        _training_table(summary),
    ]
    return "\n\n".join(parts) + "\n"


def _arms_table(summary: Mapping[str, Any]) -> str:
    columns = [f"{name}_{measure}" for measure in ("curve", "end") for name in SETS]
    head = ["arm", "seeds", "training, curve", "held-out, curve", "training, end", "held-out, end"]
    rows = [
        [ARMS[arm].label, str(len(figures["seeds"])), *(_interval(figures[column]) for column in columns)]
        for arm, figures in summary["arms"].items()
    ]
    return markdown_table(head, rows)


def _differences_table(summary: Mapping[str, Any]) -> str:
    head = ["paired difference", "problems", "over the curve", "relative", "at the end", "over the curve by CPU time"]
    head += ["seeds above 0", "p (t), curve", "p (signs), curve"]
    rows = []
    for pair, figures in summary["differences"].items():
        arm, other = pair.split(" - ")
        for name in SETS:
            curve, end, by_cpu = (figures[f"{name}_{measure}"] for measure in ("curve", "end", "curve_by_cpu"))
            if curve is None:
                continue
            relative = "" if curve["relative"] is None else f"{100 * curve['relative']:+.0f} %"
            rows.append(
                [
                    f"{ARMS[arm].label} - {ARMS[other].label}",
                    TITLES[name],
                    _interval(curve, signed=True),
                    relative,
                    _interval(end, signed=True),
                    _interval(by_cpu, signed=True),
                    f"{curve['above']} of {curve['n']}",
                    _p(curve["p_t"]),
                    _p(curve["p_signs"]),
                ]
            )
    return markdown_table(head, rows)


def _training_table(summary: Mapping[str, Any]) -> str:
    names = {
        "reward_rate_first": "passing, first update",
        "reward_rate": "passing, all updates",
        "unexecuted_share": "tokens unexecuted",
        "scratch_share_end": "problems at scratch, end",
        "scratch_reached_seeds": "seeds with 90 % at scratch",
        "mean_length": "tokens a completion",
        "kl_end": "KL, end",
        "none_pass": "groups without a pass",
        "all_pass": "groups that pass",
        "cpu_s": "CPU s of training",
    }
    known = {name for figures in summary["training"].values() for name in figures}
    names = {name: title for name, title in names.items() if name in known}
    rows = [
        [ARMS[arm].label, *(f"{figures[name]:.3g}" if name in figures else "" for name in names)]
        for arm, figures in summary["training"].items()
    ]
    return markdown_table(["in training", *names.values()], rows)


def with_gains(found: Mapping[str, Runs]) -> list[Runs]:
    """Return the settings with arms that differ in one part, the sparsest first. A single setting gives none."""
    compared = [
        runs
        for runs in found.values()
        if shares_at_start(runs) and any(set(pair) <= runs.by_arm.keys() for pair in GAINS.values())
    ]
    if len(compared) < 2:
        return []
    return sorted(compared, key=lambda runs: shares_at_start(runs)["pass_rate"].mean)


def gains_table(settings: Sequence[Runs]) -> str:
    """Return a table of each part's gain over the curve, next to the shares that it should depend on."""
    rollouts = min(runs.setting.rollouts for runs in settings)
    head = ["setting", "passing from scratch, at the start", "tokens unexecuted, at the start", "problems", *GAINS]
    rows = []
    for runs in settings:
        shares = shares_at_start(runs)
        begin = [runs.setting.name, f"{shares['pass_rate'].mean:.4f}", f"{shares['unexecuted_share'].mean:.2f}"]
        for name in SETS:
            gains = [difference(runs, *pair, "curve", name, rollouts) for pair in GAINS.values()]
            rows.append([*begin, TITLES[name], *map(_gain, gains)])
    return (
        "## Where each part pays\n\n"
        f"Paired differences of pass@1 over the first {rollouts:,} rollouts of the curve; n seeds.\n\n"
        f"{markdown_table(head, rows)}\n{_changes_table(settings, rollouts)}"
    )


def _changes_table(settings: Sequence[Runs], rollouts: int) -> str:
    """Return a table of differences in gain between settings with the same problems and models, or an empty text."""
    rows = []
    for first, last in itertools.combinations(settings, 2):
        for name in SETS:
            changes = [change_of_gain(last, first, pair, "curve", name, rollouts) for pair in GAINS.values()]
            if any(changes):
                names = f"{last.setting.name} - {first.setting.name}"
                rows.append([names, TITLES[name], *map(_gain, changes)])
    if not rows:
        return ""
    return (
        "\nHow these gains differ between settings of the same problems and models, paired by seed:\n\n"
        f"{markdown_table(['settings', 'problems', *GAINS], rows)}\n"
    )


def _gain(figures: Mapping[str, Any] | None) -> str:
    return "" if figures is None else f"{_interval(figures, signed=True)}, n {figures['n']}"


def markdown_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table in Markdown, without a final line break."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _interval(figures: Mapping[str, Any], signed: bool = False) -> str:
    form = "+.3f" if signed else ".3f"
    if figures["low"] is None:
        return f"{figures['mean']:{form}}"
    return f"{figures['mean']:{form}} [{figures['low']:{form}}, {figures['high']:{form}}]"


def _p(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}" if value >= 0.001 else "< 0.001"


# Pictures


def plot(runs: Runs, drawn: Sequence[str], banded: Sequence[str], path: Path) -> None:
    """Plot learning curves on both sets against rollouts and CPU seconds, and two metrics of training."""
    pairs = importlib.import_module("matplotlib").colormaps["tab20"].colors
    colors = dict(zip(drawn, (*pairs[::2], *pairs[1::2]), strict=False))  # the most different colors come first
    figure = importlib.import_module("matplotlib.figure").Figure(figsize=(12, 10), layout="constrained")
    panels = figure.subplots(3, 2)
    arms = [arm for arm in runs.by_arm if arm in drawn and arm != "sft"]
    reinforced = [arm for arm in arms if arm in REINFORCED]
    for column, name in enumerate(SETS):
        for row, (axis, unit) in enumerate((("rollouts", "rollouts"), ("cpu_s", "CPU seconds of training"))):
            panel = panels[row][column]
            _lines(panel, arms, lambda arm, name=name, axis=axis: curves(runs, arm, name, axis), colors, banded)
            panel.set_title(f"pass@1, {TITLES[name]} problems", loc="left", fontsize="medium")
            panel.set_xlabel(unit)
            panel.set_ylim(-0.02, 1.02)
    for panel, name, title in (
        (panels[2][0], "reward_rate", "share of completions that pass, from where they start"),
        (panels[2][1], "scratch_share", "share of problems at scratch"),
    ):
        _lines(panel, reinforced, lambda arm, name=name: training_curve(runs, arm, name), colors)
        panel.set_title(title, loc="left", fontsize="medium")
        panel.set_xlabel("rollouts")
    figure.legend(*panels[0][0].get_legend_handles_labels(), loc="outside upper center", ncols=5, fontsize="small")
    figure.savefig(path, dpi=110)


def _lines(
    panel: Any,
    arms: Sequence[str],
    curve: Callable[[str], Sequence[tuple[float, Estimate]]],
    colors: Mapping[str, Any],
    banded: Sequence[str] = (),
) -> None:
    """Plot one line per arm, with the interval of the mean as a band for the arms in `banded`."""
    for arm in arms:
        points, color = curve(arm), colors[arm]
        xs = [x for x, _ in points]
        panel.plot(xs, [value.mean for _, value in points], label=ARMS[arm].label, color=color)
        if arm in banded and points[0][1].n > 1:
            low, high = [value.low for _, value in points], [value.high for _, value in points]
            panel.fill_between(xs, low, high, color=color, alpha=0.2, linewidth=0)
    panel.grid(alpha=0.3)


def plot_gains(settings: Sequence[Runs], path: Path) -> None:
    """Plot each part's gain on held-out problems against the share that it should depend on."""
    figure = importlib.import_module("matplotlib.figure").Figure(figsize=(12, 4.5), layout="constrained")
    rollouts = min(runs.setting.rollouts for runs in settings)
    for panel, key, part, label in zip(
        figure.subplots(1, 2),
        ("pass_rate", "unexecuted_share"),
        ("CCCS", "FGO"),
        ("completions from scratch that pass, at the start", "tokens from scratch that do not run, at the start"),
        strict=True,
    ):
        shares = {runs.setting.name: shares_at_start(runs)[key].mean for runs in settings}
        beside = (max(shares.values()) - min(shares.values())) / 60  # keeps intervals from hiding each other
        for number, title in enumerate(title for title in GAINS if title.startswith(part)):
            gains = {
                shares[runs.setting.name] + number * beside: difference(
                    runs, *GAINS[title], "curve", "heldout", rollouts
                )
                for runs in settings
            }
            points = {x: one for x, one in sorted(gains.items()) if one is not None}
            errors = [0.0 if one["low"] is None else one["high"] - one["mean"] for one in points.values()]
            means = [one["mean"] for one in points.values()]
            panel.errorbar(list(points), means, yerr=errors, fmt="o", capsize=3, label=title)
        panel.axhline(0, color="black", linewidth=0.8)
        panel.set_xlabel(label)
        panel.set_title("gain in pass@1 over the curve, held-out problems", loc="left", fontsize="medium")
        panel.grid(alpha=0.3)
        panel.legend(fontsize="small")
    figure.savefig(path, dpi=110)
