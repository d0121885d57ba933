"""State of a GRPO run beside TRL's: curriculum, rounds, checked solutions. It is in each checkpoint and at the end."""

from __future__ import annotations

import json
import math
import os
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stepcoder_trl.errors import BadInputError
from stepcoder_trl.jsonl import write_json
from stepcoder_trl.steps.chat_templates import read_template_kwargs
from stepcoder_trl.steps.solutions import SolutionReport
from stepcoder_trl.trainer.checkpoints import (
    CURRICULUM,
    check_same_run,
    check_trained,
    checkpoints,
    newest_checkpoint,
    run_settings,
)
from stepcoder_trl.trainer.run_identity import RunIdentity, prompt_settings


if TYPE_CHECKING:
    from stepcoder_trl.trainer.grpo_config import StepCoderGRPOConfig
    from stepcoder_trl.trainer.grpo_trainer import StepCoderGRPOTrainer

STATE = "stepcoder_state.json"


def _settings(trainer: StepCoderGRPOTrainer) -> dict[str, Any]:
    return run_settings(trainer, trainer.args.generation_batch_size, trainer.args.num_generations)


def save_state(folder: Path, trainer: StepCoderGRPOTrainer) -> None:
    """Write curriculum, number of rounds, report on the solutions, settings and identity of the run."""
    report = trainer.training_set.report
    if trainer.curriculum is not None:
        trainer.curriculum.save(folder / CURRICULUM)
    trainer.identity.save(folder)
    solutions = None if report is None else asdict(report)
    write_json(folder / STATE, {"rounds": trainer.rounds, "solutions": solutions, **_settings(trainer)})


def updates_of_rounds(args: StepCoderGRPOConfig) -> int:
    """Return the fewest updates that use up whole rounds of generation. After them a run can be resumed exactly."""
    steps = int(args.steps_per_generation or 1) * args.num_iterations
    return steps // math.gcd(steps, args.gradient_accumulation_steps or 1)


def find_state(resume: bool | str | os.PathLike[str], output_dir: str) -> Path:
    """
    Return the checkpoint to continue from: the path `resume`, or the newest one in `output_dir` if it is `True`.

    Raises:
        BadInputError: If there is none, or it has no state of this trainer.
    """
    path = newest_checkpoint(output_dir) if resume is True else Path(str(resume))
    if not (path / STATE).is_file():
        raise BadInputError(
            f"`resume_from_checkpoint` is '{path}', which has no `{STATE}`. Pass a checkpoint of this trainer."
        )
    return path


def begin(trainer: StepCoderGRPOTrainer, resume: bool | str | os.PathLike[str] | None) -> str | None:
    """
    Begin a run, or go on with one, and check the canonical solutions. Returns the checkpoint to continue from.

    Raises:
        BadInputError: If the folder holds another run, or the checkpoint is missing or one of another run.
    """
    args, is_main = trainer.args, trainer.accelerator.is_main_process
    found = checkpoints(args.output_dir)
    if resume:
        checkpoint = find_state(resume, args.output_dir)
        trainer.identity.resume(checkpoint, found, is_main=is_main)
        load_state(checkpoint, trainer)
        check_trained(checkpoint, trainer)
        return str(checkpoint)
    trainer.identity.begin(found, overwrite=args.overwrite_output_dir, is_main=is_main)
    if trainer.training_set.report is None:
        trainer.use_solutions(trainer.check_solutions())
    return None


def identity_of(trainer: StepCoderGRPOTrainer) -> RunIdentity:
    """Return the identity of a trainer's run. Completions end with the EOS token."""
    template_kwargs = read_template_kwargs(trainer.args.chat_template_kwargs)
    rows, tokenizer = trainer.training_set.given, trainer.processing_class
    return RunIdentity(
        trainer.args.output_dir, prompt_settings(rows, tokenizer, template_kwargs, tokenizer.eos_token_id)
    )


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
