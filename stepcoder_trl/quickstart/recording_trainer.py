"""Trainer that records stages and completions for the results of the quickstart."""

from __future__ import annotations

from collections import Counter
from typing import Any

import torch

from stepcoder_trl.reports.rollouts import RolloutView
from stepcoder_trl.reports.terminal import StageCount
from stepcoder_trl.steps.programs import Feedback
from stepcoder_trl.trainer import StepCoderPPOTrainer
from stepcoder_trl.trainer.records import Rollout, Scores
from stepcoder_trl.trainer.rollout_log import rollout_views


class RecordingTrainer(StepCoderPPOTrainer):
    """
    Trainer that records the curriculum's stages and the completions of the first and the last update.

    It trains exactly as its parent.

    Attributes:
        stages (`list[StageCount]`): Number of problems at each stage, before the first update and after each update.
        first_rollouts (`list[RolloutView]`): Completions of the first update.
        last_rollouts (`list[RolloutView]`): Completions of the last update.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.stages = [StageCount(0, self._problems_at_stages(), 0.0)]
        self.first_rollouts: list[RolloutView] = []
        self.last_rollouts: list[RolloutView] = []

    def build_loss_mask(self, rollout: Rollout, feedback: Feedback, scores: Scores) -> torch.Tensor:
        """Return the parent's mask, and record the completions with it."""
        loss_mask = super().build_loss_mask(rollout, feedback, scores)
        if self.state.global_step in (0, self.plan.num_updates - 1):
            self.last_rollouts = rollout_views(rollout, feedback, scores, loss_mask)
            self.first_rollouts = self.first_rollouts or self.last_rollouts
        return loss_mask

    def update_curriculum(self, rollout: Rollout, feedback: Feedback, scores: Scores) -> None:
        """Update the curriculum as the parent does, and record the number of problems at each stage."""
        super().update_curriculum(rollout, feedback, scores)
        passed = [execution.outcome == "passed" for execution in feedback.executions if execution is not None]
        passing = sum(passed) / len(passed) if passed else 0.0
        self.stages.append(StageCount(self.state.global_step + 1, self._problems_at_stages(), passing))

    def _problems_at_stages(self) -> dict[int, int]:
        curriculum = self.curriculum
        return {} if curriculum is None else dict(Counter(curriculum.stage(row.task_id) for row in self.rows))
