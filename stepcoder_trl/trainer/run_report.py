"""Record and page of a run, written by its first process."""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from transformers import TrainerCallback

from stepcoder_trl.reports.rollouts import RolloutView
from stepcoder_trl.reports.run_facts import RunFacts, write_facts
from stepcoder_trl.reports.run_files import write_card, write_page
from stepcoder_trl.reports.run_record import RunRecorder
from stepcoder_trl.trainer.report_guard import ReportGuard


if TYPE_CHECKING:
    from stepcoder_trl.trainer.grpo_trainer import StepCoderGRPOTrainer
    from stepcoder_trl.trainer.ppo_trainer import StepCoderPPOTrainer


class RunReport(TrainerCallback):
    """
    Records the rollouts of a trainer in `record/`, and writes `report.html` at the end of training.

    `card.json` is there from the beginning, so that `stepcoder-trl report` can show a run that goes on. A report that
    cannot be written is a warning, and the run goes on.

    Args:
        trainer (PPO or GRPO trainer): Trainer that calls [`RunReport.add`].
        facts (`Callable`): Returns the facts about the trainer's weights.
    """

    def __init__(self, trainer: StepCoderPPOTrainer | StepCoderGRPOTrainer, facts: Callable[..., RunFacts]) -> None:
        # A strong reference would keep a dropped trainer, with its models, until the next garbage collection.
        self.trainer: StepCoderPPOTrainer | StepCoderGRPOTrainer = weakref.proxy(trainer)
        self.facts = facts
        self.recorder, self._guard = RunRecorder(trainer.args.output_dir), ReportGuard()

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Forget what was recorded of later updates, which will be repeated, and write what is known of the run."""
        if state.is_world_process_zero:
            with self._guard.tolerant():
                self.recorder.begin(state.global_step, state.max_steps)
                Path(args.output_dir).mkdir(parents=True, exist_ok=True)
                write_facts(self.facts(self.trainer), args.output_dir)

    def add(self, views: Callable[[], Sequence[RolloutView]]) -> None:
        """Record the completions of the current update, if it is one of those that are recorded."""
        trainer = self.trainer
        update = trainer.state.global_step + 1
        if trainer.state.is_world_process_zero and self.recorder.is_due(update):
            curriculum = trainer.training_set.curriculum
            rows = [] if curriculum is None else trainer.training_set.rows
            with self._guard.tolerant():
                stages = [] if curriculum is None else [curriculum.stage(row.task_id) for row in rows]
                self.recorder.add(update, views(), stages)

    def write_card(self, folder: str | os.PathLike[str], *args: Any, **kwargs: Any) -> None:
        """Write the card of a saved model. Further arguments are those of the function that returns the facts."""
        with self._guard.tolerant():
            write_card(self.facts(self.trainer, *args, **kwargs), folder)

    def write_card_of_run(self, *args: Any, **kwargs: Any) -> None:
        """Write the card to the folder of the run, on the first process."""
        if self.trainer.is_world_process_zero():
            folder = Path(self.trainer.args.output_dir)
            folder.mkdir(parents=True, exist_ok=True)
            self.write_card(folder, *args, **kwargs)

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Write the page of the run."""
        if state.is_world_process_zero:
            with self._guard.tolerant():
                facts = self.facts(self.trainer)
                write_facts(facts, args.output_dir)
                write_page(facts, args.output_dir)


class SFTReport(TrainerCallback):
    """
    Writes cards of our own into the checkpoints of TRL's `SFTTrainer`, in place of templates with blanks.

    Args:
        trainer ([`~trl.SFTTrainer`]): Trainer.
        facts (`Callable`): Returns the facts about the trainer's weights.
    """

    def __init__(self, trainer: Any, facts: Callable[[Any], RunFacts]) -> None:
        self.trainer, self.facts, self._guard = weakref.proxy(trainer), facts, ReportGuard()

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Write the card of a checkpoint."""
        if state.is_world_process_zero:
            with self._guard.tolerant():
                write_card(self.facts(self.trainer), Path(args.output_dir) / f"checkpoint-{state.global_step}")

    def write_files(self, output_dir: str) -> None:
        """Write card and page of the final model."""
        if self.trainer.is_world_process_zero():
            with self._guard.tolerant():
                facts = self.facts(self.trainer)
                write_card(facts, output_dir)
                write_page(facts, output_dir)
