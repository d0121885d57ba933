"""Modes `paper` and `mix`: each problem moves through its own stages, from its last conditional to scratch."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from stepcoder_trl.curriculum.config import CurriculumConfig
from stepcoder_trl.curriculum.cut import SCRATCH, Stage, curriculum_stages, find_stage


@dataclass
class _Progress:
    """Stage of a problem and the moving average of its pass rate."""

    stage: int
    pass_rate: float = 0.0


class Staged:
    """
    Progress of all problems through their stages.

    A problem starts at its highest stage. The share of a group's samples that pass enters a moving average,
    `rate <- (1 - momentum) * rate + momentum * share`. When the average exceeds `pass_rate`, the problem moves to its
    next lower stage and the average starts again at 0. Only groups drawn at the problem's current stage count. At
    scratch the average goes on.

    With `rate_of="stage"` all problems at a stage have one average and move on together. At any stage a problem is
    drawn from scratch with `scratch_probability`. With `leave_solved` a problem also moves on when all samples of a
    group pass.

    Paper: StepCoder (arXiv:2402.01391), section 3.2 and Algorithm 1. `scratch_probability`, `rate_of="stage"` and
    `leave_solved` are not in the paper.
    """

    def __init__(
        self, config: CurriculumConfig, problems: Mapping[str, tuple[str, str]], scratch_probability: float = 0.0
    ) -> None:
        self.stages = {task_id: curriculum_stages(*texts, config.kinds) for task_id, texts in problems.items()}
        self.advanced = 0
        self._config = config
        self._scratch_probability = scratch_probability
        self._progress = {task_id: _Progress(stages[0].stage) for task_id, stages in self.stages.items()}
        self._stage_rates: dict[int, float] = {}

    def current(self, task_id: str) -> Stage:
        """Return the stage that a problem has reached."""
        return find_stage(task_id, self.stages[task_id], self._progress[task_id].stage)

    def pass_rate(self, task_id: str) -> float:
        """Return the moving average of a problem at its current stage."""
        return self._progress[task_id].pass_rate

    def draw(self, task_id: str, rng: random.Random) -> Stage:
        """Return the current stage, or scratch with its probability."""
        return SCRATCH if rng.random() < self._scratch_probability else self.current(task_id)

    def update(self, task_id: str, stage: int, share: float) -> None:
        """Update the averages with a group's share of passing samples, and move problems to their next stage."""
        progress = self._progress[task_id]
        if stage != progress.stage:
            return
        progress.pass_rate += self._config.momentum * (share - progress.pass_rate)
        if self._config.rate_of == "stage":
            self._update_stage(stage, share)
        elif progress.pass_rate > self._config.pass_rate:
            self._advance(task_id)
        if self._config.leave_solved and share == 1 and self._progress[task_id].stage == stage:
            self._advance(task_id)

    def _update_stage(self, stage: int, share: float) -> None:
        rate = self._stage_rates.get(stage, 0.0)
        self._stage_rates[stage] = rate + self._config.momentum * (share - rate)
        if stage > 0 and self._stage_rates[stage] > self._config.pass_rate:
            self._stage_rates[stage] = 0.0
            for task_id, progress in self._progress.items():
                if progress.stage == stage:
                    self._advance(task_id)

    def _advance(self, task_id: str) -> None:
        reached = self._progress[task_id].stage
        if reached > 0:
            lower = next(stage.stage for stage in self.stages[task_id] if stage.stage < reached)
            self._progress[task_id] = _Progress(lower)
            self.advanced += 1

    def start_at(self, stages: Mapping[str, int]) -> None:
        """Set problems to stages of theirs, with a pass rate of 0. Nothing changes if one has no such stage."""
        found = {task_id: find_stage(task_id, self.stages[task_id], number) for task_id, number in stages.items()}
        self._progress.update({task_id: _Progress(stage.stage) for task_id, stage in found.items()})

    def state_dict(self) -> dict[str, Any]:
        """Return the state as values that JSON can hold."""
        return {
            "advanced": self.advanced,
            "stage_rates": {str(stage): rate for stage, rate in self._stage_rates.items()},
            "problems": {task_id: asdict(progress) for task_id, progress in self._progress.items()},
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Replace the state. Nothing changes if a problem does not have its saved stage."""
        progress = {}
        for task_id, stages in self.stages.items():
            saved = state["problems"][task_id]
            stage = find_stage(task_id, stages, saved["stage"])
            progress[task_id] = _Progress(stage.stage, float(saved["pass_rate"]))
        # States that older versions saved have no `stage_rates`.
        stage_rates = {int(stage): float(rate) for stage, rate in state.get("stage_rates", {}).items()}
        self.advanced = int(state["advanced"])
        self._progress, self._stage_rates = progress, stage_rates
