"""Identity of a run, so that two runs in one folder are never mixed."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from stepcoder_trl.errors import BadInputError
from stepcoder_trl.steps.prompt_settings import PromptSettings, RunFile, read_run_file, style_of, write_run_file
from stepcoder_trl.steps.rows import PromptRow


# What a run writes into `output_dir` beside checkpoints and model.
_OF_A_RUN = ("completions/*", "metrics.jsonl", "record", "card.json", "report.html")


def prompt_settings(
    rows: Sequence[PromptRow], tokenizer: Any, template_kwargs: Any, stop_token_id: int | None
) -> PromptSettings:
    """Return the settings of the prompts of a training set."""
    style = None if rows[0].token_ids is not None else style_of([row.prompt for row in rows], tokenizer)
    return PromptSettings(style, template_kwargs, () if stop_token_id is None else (stop_token_id,))


def checkpoints_of_run(output_dir: str | os.PathLike[str], found: Sequence[Path]) -> list[Path]:
    """
    Return the checkpoints among `found` that belong to the run of a folder.

    Raises:
        BadInputError: If the folder does not say which run it belongs to, and they belong to several.
    """
    files = {path: read_run_file(path) for path in found}
    ids = {path: None if one is None else one.run_id for path, one in files.items()}
    own = read_run_file(output_dir)
    if own is None and len(set(ids.values())) > 1:
        raise BadInputError(
            f"{str(output_dir)!r} holds checkpoints of several runs: {', '.join(path.name for path in found)}. Name "
            f"one, as `--resume_from_checkpoint {found[-1]}`."
        )
    return [path for path in found if own is None or ids[path] == own.run_id]


def refuse_other_run(output_dir: str | os.PathLike[str], found: Sequence[Path], overwrite: bool) -> None:
    """Raise a `BadInputError` if a folder has checkpoints, `found` there, which a new run may not `overwrite`."""
    if found and not overwrite:
        raise BadInputError(
            f"`output_dir` {str(output_dir)!r} holds checkpoints of another run, up to {found[-1].name}. Go on with "
            "it by `--resume_from_checkpoint true`, delete it by `--overwrite_output_dir`, or choose another folder."
        )


class RunIdentity:
    """
    Id of a run and settings of its prompts, which are written into each folder of a model.

    Args:
        output_dir (`str`): Folder of the run.
        prompts ([`PromptSettings`]): Settings of its prompts.
    """

    def __init__(self, output_dir: str, prompts: PromptSettings) -> None:
        self.output_dir, self.prompts = Path(output_dir), prompts
        self.run_id = uuid.uuid4().hex

    def begin(self, found: Sequence[Path], *, overwrite: bool, is_main: bool) -> None:
        """
        Begin a new run. With `overwrite`, the checkpoints `found` in the folder are deleted.

        Raises:
            BadInputError: If there are checkpoints, without `overwrite`.
        """
        refuse_other_run(self.output_dir, found, overwrite)
        self.run_id = uuid.uuid4().hex
        if is_main:
            for path in (*found, *(path for name in _OF_A_RUN for path in self.output_dir.glob(name))):
                if path.is_dir():
                    shutil.rmtree(path)
                else:
                    path.unlink(missing_ok=True)
            self.output_dir.mkdir(parents=True, exist_ok=True)
            self.save(self.output_dir)

    def resume(self, checkpoint: Path, found: Sequence[Path], *, is_main: bool) -> None:
        """
        Go on with the run of a checkpoint.

        Raises:
            BadInputError: If it was trained with other prompts, or the folder has checkpoints `found` of another run.
        """
        saved = read_run_file(checkpoint)
        if saved is not None:
            self._check_prompts(saved.prompts)
            self.run_id = saved.run_id
            if checkpoint.resolve().parent != self.output_dir.resolve():
                others = [one for path in found if (one := read_run_file(path)) is None or one.run_id != self.run_id]
                refuse_other_run(self.output_dir, found if others else (), overwrite=False)
        if is_main:
            self.output_dir.mkdir(parents=True, exist_ok=True)
            self.save(self.output_dir)

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write the file of the run into a folder."""
        write_run_file(folder, RunFile(self.run_id, self.prompts))

    def _check_prompts(self, saved: PromptSettings) -> None:
        for name, now in vars(self.prompts).items():
            then = vars(saved)[name]
            if then != now:
                raise BadInputError(
                    f"The checkpoint was saved with `{name}` {then!r}, now it is {now!r}: the model would be prompted "
                    "otherwise. Resume with the settings it was saved with, or train its model in a run of its own."
                )


class RunFileCallback(TrainerCallback):
    """Writes the file of a run into each checkpoint of a trainer of transformers."""

    def __init__(self, identity: RunIdentity) -> None:
        self.identity = identity

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **keywords: Any) -> None:
        if state.is_world_process_zero:
            self.identity.save(Path(args.output_dir) / f"checkpoint-{state.global_step}")
