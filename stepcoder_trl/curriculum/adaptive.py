"""
Mode `adaptive`: each problem has an interval of the share of its solution that is revealed.

Source: AdaBack (arXiv:2506.18110).
"""

from __future__ import annotations

import ast
import random
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from stepcoder_trl.curriculum.config import CurriculumConfig
from stepcoder_trl.curriculum.cut import SCRATCH, Stage, cut_at
from stepcoder_trl.parsing import first_line, parse
from stepcoder_trl.units import executable_units


@dataclass
class _Interval:
    """Bounds of the revealed share of a problem, and the moving average of its pass rate."""

    low: float = 0.0
    high: float = 1.0
    pass_rate: float = 0.0


class Revealed:
    """
    Intervals of all problems, narrowed by success.

    A share is drawn uniformly from the problem's interval, at first [0, 1]. The solution is cut before the last
    statement that reveals no more than that share of its characters.

    If a group's share of passing samples exceeds `pass_rate`, the share that it revealed becomes the upper end of the
    interval. Otherwise it becomes the lower end. The other end moves half of its way back to 0 or to 1, so that a
    problem can always leave its interval. Every group counts.
    """

    def __init__(self, config: CurriculumConfig, problems: Mapping[str, tuple[str, str]]) -> None:
        self.stages = {task_id: _statement_stages(*texts) for task_id, texts in problems.items()}
        self.advanced = 0
        self._config = config
        self._lengths = {task_id: len(solution) for task_id, (solution, _) in problems.items()}
        self._intervals = {task_id: _Interval() for task_id in problems}

    def current(self, task_id: str) -> Stage:
        """Return the stage at the middle of a problem's interval."""
        interval = self._intervals[task_id]
        return self._stage_at(task_id, (interval.low + interval.high) / 2)

    def pass_rate(self, task_id: str) -> float:
        """Return the moving average of a problem over all its stages."""
        return self._intervals[task_id].pass_rate

    def draw(self, task_id: str, rng: random.Random) -> Stage:
        """Return the stage at a share drawn from the problem's interval."""
        interval = self._intervals[task_id]
        return self._stage_at(task_id, rng.uniform(interval.low, interval.high))

    def update(self, task_id: str, stage: int, share: float) -> None:
        """Narrow the interval of a problem at the share that the group's stage reveals."""
        drawn = next((known for known in self.stages[task_id] if known.stage == stage), None)
        if drawn is None:
            return
        interval = self._intervals[task_id]
        interval.pass_rate += self._config.momentum * (share - interval.pass_rate)
        revealed = len(drawn.prefix) / max(1, self._lengths[task_id])
        if share > self._config.pass_rate:
            self.advanced += revealed < interval.high
            interval.high, interval.low = revealed, min(interval.low / 2, revealed)
        else:
            interval.low, interval.high = revealed, max((1 + interval.high) / 2, revealed)

    def state_dict(self) -> dict[str, Any]:
        """Return the state as values that JSON can hold."""
        problems = {task_id: asdict(interval) for task_id, interval in self._intervals.items()}
        return {"advanced": self.advanced, "problems": problems}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Replace the state."""
        saved = state["problems"]
        intervals = {
            task_id: _Interval(**{name: float(saved[task_id][name]) for name in ("low", "high", "pass_rate")})
            for task_id in self.stages
        }
        self.advanced, self._intervals = int(state["advanced"]), intervals

    def _stage_at(self, task_id: str, share: float) -> Stage:
        """Return the last stage that reveals no more than a share of the solution's characters."""
        revealed = share * self._lengths[task_id]
        return next(stage for stage in self.stages[task_id] if len(stage.prefix) <= revealed)


def _statement_stages(solution: str, starter_code: str) -> list[Stage]:
    """Return scratch and a stage for every line that begins a statement outside the starter code, last line first."""
    tree = parse(solution)
    nodes = ast.walk(tree) if tree is not None else ()
    # Of the statements on one line only the first can be cut off: another may begin on the last line of a string.
    cuttable = {unit.first_line for unit in executable_units(solution) or ()}
    lines = sorted(cuttable & {first_line(node) for node in nodes if isinstance(node, ast.stmt)})
    stages = cut_at([(0, line) for line in lines], solution, starter_code)[:-1]
    numbered = [replace(stage, stage=number) for number, stage in enumerate(stages, 1)]
    return [*reversed(numbered), SCRATCH]
