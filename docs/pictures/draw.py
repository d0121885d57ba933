"""
Draw the pictures of the README.

    python -m docs.pictures.draw

`stages.svg`: one problem at three stages of the curriculum. The completions are made up. Stages, lines that ran and
scores are what the library says of them. `learning.svg`: PPO and StepCoder, from `docs/results/ablation/results.json`.
"""

from __future__ import annotations

import html
import importlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.ablation.analysis import Runs, curves
from benchmarks.ablation.intervals import Estimate
from benchmarks.ablation.settings import MAIN
from stepcoder_trl import CodeExecutor, Execution, find_conditionals
from stepcoder_trl.curriculum.cut import curriculum_stages
from stepcoder_trl.rewards import unit_test_score


HERE = Path(__file__).parent
RESULTS = HERE.parent / "results" / "ablation" / "results.json"

SOLUTION = """\
def total(lines):
    total = 0
    for line in lines:
        if not line:
            continue
        name, price = line.split(":")
        if name == "refund":
            total -= int(price)
        else:
            total += int(price)
    if total < 0:
        total = 0
    if total > 100:
        total = total * 9 // 10
    return total
"""
TESTS = {
    "type": "assert",
    "setup": "",
    "asserts": [
        "assert total(['bread:3', '', 'milk:2']) == 5",
        "assert total(['tv:200']) == 180",
        "assert total(['refund:5']) == 0",
    ],
}
# What a model might write, by the stage at which it begins.
COMPLETIONS = {
    2: """\
    if total > 100:
        total = total * 9 // 10
        if total > 1000:
            total = 1000
    return total
""",
    1: """\
        if name == "refund":
            total -= int(price)
        elif name == "coupon":
            total = total // 2
        else:
            total += int(price)
    if total > 100:
        return total * 9 // 10
    return total
""",
    0: """\
def discount(total):
    if total > 100:
        return total * 9 // 10
    return total

def total(lines):
    total = 0
    for line in lines:
        name, price = line.split(":")
        if name == "refund":
            total -= int(price)
        else:
            total += int(price)
    return max(total, 0)
""",
}
TITLES = {2: "Early: write the end", 1: "Later: write half", 0: "At last: write all of it"}

LINE_HEIGHT, LETTER, MARGIN, COLUMN = 19, 7.25, 14, 292
GIVEN, TRAINED, DEAD, INK = "#8a8f98", "#12703a", "#c0322b", "#1f2328"
FONT = "ui-monospace, SFMono-Regular, Menlo, Consolas, 'DejaVu Sans Mono', monospace"


@dataclass(frozen=True)
class Panel:
    """A program at one stage of the curriculum, and what became of it."""

    stage: int
    prefix: str
    completion: str
    execution: Execution

    def lines(self) -> list[tuple[str, str]]:
        """Return each line with its kind: given, trained or dead."""
        program, given = self.prefix + self.completion, self.prefix.count("\n")
        return [
            (line, "given" if number <= given else "trained" if number in self.execution.kept_lines else "dead")
            for number, line in enumerate(program.splitlines(), 1)
        ]


def panels() -> list[Panel]:
    """Run the completions, from the first stage of training to scratch."""
    stages = curriculum_stages(SOLUTION)
    with CodeExecutor() as executor:
        return [
            Panel(stage.stage, stage.prefix, text, executor.run(stage.prefix + text, TESTS))
            for stage in stages
            for text in [COMPLETIONS[stage.stage]]
        ]


def stages_svg(shown: list[Panel]) -> str:
    """Return the picture of the stages."""
    rows = max(len(panel.lines()) for panel in shown)
    height, width = 118 + rows * LINE_HEIGHT, MARGIN + len(shown) * (COLUMN + MARGIN)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        'role="img" font-family="system-ui, sans-serif" font-size="14">',
        "<title>One program at three stages of training: given, trained on, never ran</title>",
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
    ]
    for index, panel in enumerate(shown):
        parts += _panel(panel, MARGIN + index * (COLUMN + MARGIN), height)
    parts += _legend(height - 12)
    return "\n".join([*parts, "</svg>", ""])


def _panel(panel: Panel, left: float, height: int) -> list[str]:
    bottom = height - 42
    score = f"{unit_test_score(panel.execution):+g} ({panel.execution.outcome.value.replace('_', ' ')})"
    parts = [
        f'<rect x="{left}" y="36" width="{COLUMN}" height="{bottom - 36}" rx="6" fill="#f6f8fa" stroke="#d0d7de"/>',
        f'<text x="{left}" y="24" font-weight="600" fill="{INK}">{TITLES[panel.stage]}</text>',
        f'<text x="{left + 12}" y="{bottom - 12}" fill="{INK}">score <tspan font-weight="600">{score}</tspan></text>',
    ]
    for row, (line, kind) in enumerate(panel.lines()):
        indent = len(line) - len(line.lstrip())
        color = {"given": GIVEN, "trained": TRAINED, "dead": DEAD}[kind]
        dead = ' text-decoration="line-through"' if kind == "dead" else ""
        parts.append(
            f'<text x="{left + 12 + indent * LETTER:g}" y="{60 + row * LINE_HEIGHT}" font-family="{FONT}" '
            f'font-size="12" fill="{color}"{dead}>{html.escape(line.strip())}</text>'
        )
    return parts


def _legend(baseline: int) -> list[str]:
    labels = [(GIVEN, "given in the prompt", ""), (TRAINED, "written by the model, trained on", "")]
    labels += [(DEAD, "written by the model, never ran: left out of the loss", ' text-decoration="line-through"')]
    parts, left = [], MARGIN
    for color, label, decoration in labels:
        parts.append(f'<rect x="{left}" y="{baseline - 11}" width="12" height="12" rx="2" fill="{color}"/>')
        parts.append(f'<text x="{left + 18}" y="{baseline}" fill="{color}"{decoration}>{label}</text>')
        left += 18 + round(7.1 * len(label)) + 24
    return parts


def learning_curves(arm: str) -> list[tuple[float, Estimate]]:
    """Return the mean held-out pass@1 of an arm over seeds with its interval, by number of rollouts."""
    by_arm: dict[str, dict[int, Any]] = {}
    for run in json.loads(RESULTS.read_text(encoding="utf-8"))[MAIN.name]["runs"]:
        by_arm.setdefault(run["arm"], {})[run["seed"]] = run
    return curves(Runs(MAIN, by_arm), arm, "heldout")


def draw_learning(path: Path) -> None:
    """Draw the learning curves of PPO and StepCoder with 95 % intervals over seeds."""
    matplotlib = importlib.import_module("matplotlib")
    matplotlib.rcParams["svg.hashsalt"] = "stepcoder-trl"  # the same picture, the same file
    figure = importlib.import_module("matplotlib.figure").Figure(figsize=(9, 3.2), layout="constrained")
    panel = figure.subplots()
    for arm, label, color in (("stepcoder", "StepCoder", TRAINED), ("ppo", "PPO", DEAD)):
        points = learning_curves(arm)
        xs = [x for x, _ in points]
        panel.plot(xs, [value.mean for _, value in points], label=label, color=color, linewidth=2)
        low, high = [value.low for _, value in points], [value.high for _, value in points]
        panel.fill_between(xs, low, high, color=color, alpha=0.15, linewidth=0)
    panel.set_xlabel("completions sampled in training")
    panel.set_ylabel("held-out pass@1, from scratch")
    panel.set_ylim(0, 1)
    panel.set_xlim(left=0)
    panel.grid(alpha=0.3)
    panel.spines[["top", "right"]].set_visible(False)
    panel.legend(frameon=False, loc="upper left")
    figure.savefig(path, metadata={"Date": None})


if __name__ == "__main__":
    print(f"{len(find_conditionals(SOLUTION))} conditional statements")
    (HERE / "stages.svg").write_text(stages_svg(panels()), encoding="utf-8")
    draw_learning(HERE / "learning.svg")
