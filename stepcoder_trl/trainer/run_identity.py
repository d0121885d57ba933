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
from stepcoder_trl.reports.run_history import FACTS_FILE
from stepcoder_trl.steps.prompt_settings import (
    RUN_FILE,
    PromptSettings,
    RunFile,
    read_run_file,
    style_of,
    write_run_file,
)
from stepcoder_trl.steps.rows import PromptRow


# Results that a run writes into `output_dir` beside checkpoints and model. Other files there are those of its user.
_RESULTS = (
    "metrics.jsonl",
    "report.html",
    "record/updates.jsonl",
    "record/rollouts.jsonl",
    "completions/completions_*.parquet",
)


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
    """
    Raise a `BadInputError` if a folder holds a run which a new one may not `overwrite`.

    That are checkpoints, `found` there, or what a run without checkpoints wrote. A run that wrote only which run it is
    may be begun anew.
    """
    if overwrite:
        return
    if found:
        raise BadInputError(
            f"`output_dir` {str(output_dir)!r} holds checkpoints of another run, up to {found[-1].name}. Go on with "
            "it by `resume_from_checkpoint=True`, delete it by `overwrite_output_dir=True`, or choose another folder."
        )
    written = files_of_run(output_dir)
    if written:
        name = written[0].relative_to(output_dir)
        raise BadInputError(
            f"`output_dir` {str(output_dir)!r} holds another run without checkpoints, with {name}. Delete it by "
            "`overwrite_output_dir=True`, or choose another folder."
        )


def files_of_run(output_dir: str | os.PathLike[str]) -> list[Path]:
    """Return the results that a run wrote into its folder beside checkpoints and model. Empty if none was there."""
    folder = Path(output_dir)
    if not any((one / RUN_FILE).is_file() for one in (folder, *folder.glob("checkpoint-*"))):
        return []
    return [path for name in _RESULTS for path in sorted(folder.glob(name)) if not path.is_dir()]


def _delete_run(output_dir: Path, found: Sequence[Path]) -> None:
    """Delete the checkpoints `found` and the results of a run. Of a link, what it leads to stays."""
    results = files_of_run(output_dir)
    folders = {path.parent for path in results} - {output_dir}
    facts = [output_dir / FACTS_FILE] if results else []
    for path in (*found, *(one for one in folders if one.is_symlink()), *results, *facts):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    for folder in folders:
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()


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
        self._has_begun = False

    def begin(self, found: Sequence[Path], *, overwrite: bool, is_main: bool) -> None:
        """
        Begin a new run. With `overwrite`, another run in the folder is deleted, and its checkpoints, `found` there.

        A trainer that trains again replaces its own run, unless that has checkpoints.

        Raises:
            BadInputError: If the folder holds another run, without `overwrite`.
        """
        refuse_other_run(self.output_dir, found, overwrite or (self._has_begun and not found))
        self.run_id, deletes, self._has_begun = uuid.uuid4().hex, overwrite or self._has_begun, True
        if is_main:
            if deletes:
                _delete_run(self.output_dir, found)
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
                own = read_run_file(self.output_dir)
                is_other = bool(others) or (own is not None and own.run_id != self.run_id)
                refuse_other_run(self.output_dir, found if others else (), overwrite=not is_other)
        self._has_begun = True
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
