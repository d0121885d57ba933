"""State of a GRPO run beside TRL's: curriculum, rounds, checked solutions. It is in each checkpoint and at the end."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from transformers.trainer_utils import get_last_checkpoint

from stepcoder_trl.errors import BadInputError
from stepcoder_trl.jsonl import write_json
from stepcoder_trl.steps.solutions import SolutionReport
from stepcoder_trl.trainer.checkpoints import CURRICULUM, check_same_run, run_settings


if TYPE_CHECKING:
    from stepcoder_trl.trainer.grpo_trainer import StepCoderGRPOTrainer

STATE = "stepcoder_state.json"


def _settings(trainer: StepCoderGRPOTrainer) -> dict[str, Any]:
    return run_settings(trainer, trainer.args.generation_batch_size, trainer.args.num_generations)


def save_state(folder: Path, trainer: StepCoderGRPOTrainer) -> None:
    """Write curriculum, number of rounds, report on the solutions and settings of the run."""
    report = trainer.training_set.report
    if trainer.curriculum is not None:
        trainer.curriculum.save(folder / CURRICULUM)
    solutions = None if report is None else asdict(report)
    write_json(folder / STATE, {"rounds": trainer.rounds, "solutions": solutions, **_settings(trainer)})


def find_state(resume: bool | str | os.PathLike[str], output_dir: str) -> Path:
    """
    Return the checkpoint to continue from: the path `resume`, or the newest one in `output_dir` if it is `True`.

    Raises:
        BadInputError: If there is none, or it has no state of this trainer.
    """
    newest = get_last_checkpoint(output_dir) if resume is True and os.path.isdir(output_dir) else None
    if resume is True and newest is None:
        raise BadInputError(f"No checkpoint in {output_dir!r} to resume from. Train without resuming first.")
    path = Path(newest or str(resume))
    if not (path / STATE).is_file():
        raise BadInputError(
            f"`resume_from_checkpoint` is '{path}', which has no `{STATE}`. Pass a checkpoint of this trainer."
        )
    return path


def load_state(folder: Path, trainer: StepCoderGRPOTrainer) -> None:
    """
    Restore what `save_state` wrote.

    Raises:
        BadInputError: If the checkpoint is one of other problems, or of groups or batches of another size.
    """
    saved = json.loads((folder / STATE).read_text(encoding="utf-8"))
    check_same_run(saved, _settings(trainer))
    if saved["solutions"] is not None:
        trainer.use_solutions(SolutionReport(**saved["solutions"]))
    if trainer.curriculum is not None:
        trainer.curriculum.load(folder / CURRICULUM)
    trainer.rounds = int(saved["rounds"])
