"""Record of stages and completions for the results of the quickstart."""

from __future__ import annotations

from collections import Counter

from stepcoder_trl.reports.rollouts import RolloutView
from stepcoder_trl.reports.terminal import StageCount
from stepcoder_trl.trainer import StepCoderPPOTrainer
from stepcoder_trl.trainer.records import Update
from stepcoder_trl.trainer.rollout_log import rollout_views


class UpdateLog:
    """
    Records the curriculum's stages and the completions of the first and the last update.

    Args:
        trainer ([`StepCoderPPOTrainer`]): Trainer before its first update. Its `on_update` is set here.

    Attributes:
        stages (`list[StageCount]`): Number of problems at each stage, before the first update and after each update.
        first_rollouts (`list[RolloutView]`): Completions of the first update.
        last_rollouts (`list[RolloutView]`): Completions of the last update.
    """

    def __init__(self, trainer: StepCoderPPOTrainer) -> None:
        self.trainer = trainer
        self.stages = [StageCount(0, self._problems_at_stages(), 0.0)]
        self.first_rollouts: list[RolloutView] = []
        self.last_rollouts: list[RolloutView] = []
        trainer.on_update = self.add

    def add(self, update: Update) -> None:
        """Record an update."""
        if update.step in (0, self.trainer.plan.num_updates - 1):
            self.last_rollouts = rollout_views(update.rollout, update.feedback, update.scores, update.loss_mask)
            self.first_rollouts = self.first_rollouts or self.last_rollouts
        passed = [execution.outcome == "passed" for execution in update.feedback.executions if execution is not None]
        passing = sum(passed) / len(passed) if passed else 0.0
        self.stages.append(StageCount(update.step + 1, self._problems_at_stages(), passing))

    def _problems_at_stages(self) -> dict[int, int]:
        curriculum = self.trainer.curriculum
        if curriculum is None:
            return {}
        return dict(Counter(curriculum.stage(row.task_id) for row in self.trainer.rows))
