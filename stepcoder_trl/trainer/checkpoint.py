"""
Checkpoints: written under a temporary name, then renamed, so that whatever is called `checkpoint-N` is whole.

    checkpoint-N/
      config.json, model.safetensors, ...     policy or its adapter, with the tokenizer
      value_model/                            critic or its adapter
      curriculum.json                         stage and pass rate of every problem
      trainer_state.json                      counters, logged history, callbacks
      training_state/                         what an exact continuation needs besides
"""

from __future__ import annotations

import json
import os
import random
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator

from stepcoder_trl.errors import BadInputError


TRAINING_STATE = "training_state"
VALUE_MODEL = "value_model"
CURRICULUM = "curriculum.json"
_NAME = re.compile(r"checkpoint-(\d+)")


def checkpoints(output_dir: str | os.PathLike[str]) -> list[Path]:
    """Checkpoints of a run, oldest first."""
    root = Path(output_dir)
    found = [(int(match[1]), path) for path in root.glob("checkpoint-*") if (match := _NAME.fullmatch(path.name))]
    return [path for _, path in sorted(found)]


def find_checkpoint(resume: bool | str | os.PathLike[str], output_dir: str) -> Path:
    """
    Checkpoint to continue from.

    Args:
        resume (`bool` or path):
            `True` for the newest of the run.
        output_dir (`str`):
            Directory of the run.

    Returns:
        `Path`

    Raises:
        BadInputError: If there is none, or it was saved without what training needs.
    """
    if isinstance(resume, bool):
        found = checkpoints(output_dir)
        if not found:
            raise BadInputError(f"No checkpoint in {output_dir!r} to resume from. Train without resuming first.")
        path = found[-1]
    else:
        path = Path(resume)
    if not (path / TRAINING_STATE).is_dir():
        raise BadInputError(
            f"`resume_from_checkpoint` is '{path}', which has no directory `{TRAINING_STATE}`. Pass a checkpoint of "
            "this trainer that was saved without `save_only_model`."
        )
    return path


@contextmanager
def new_directory(path: Path, is_main_process: bool, wait: Callable[[], None]) -> Iterator[Path]:
    """
    Directory that gets its name when it is complete.

    Args:
        path (`Path`):
            Final name. A directory of that name is replaced.
        is_main_process (`bool`):
            Whether this process renames.
        wait (`Callable`):
            Returns when all processes have called it.

    Yields:
        `Path`: Where to write.
    """
    temporary = path.with_name(f"tmp-{path.name}")
    if is_main_process:
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
    wait()
    yield temporary
    wait()
    if is_main_process:
        if path.exists():
            shutil.rmtree(path)
        temporary.rename(path)
    wait()


def remove_old(output_dir: str, limit: int | None, keep: str | None = None) -> None:
    """
    Delete the oldest checkpoints beyond a limit.

    Args:
        output_dir (`str`):
            Directory of the run.
        limit (`int` or `None`):
            How many may stay; `None` or 0 keeps all.
        keep (`str`, *optional*):
            Checkpoint that stays whatever its age.
    """
    if not limit:
        return
    for path in checkpoints(output_dir)[:-limit]:
        if keep is None or path.resolve() != Path(keep).resolve():
            shutil.rmtree(path)


def save_training_state(
    directory: Path,
    accelerator: Accelerator,
    model: torch.nn.Module,
    optimizer: Any,
    lr_scheduler: Any,
    extra: Mapping[str, Any],
) -> None:
    """
    Write what an exact continuation needs besides the models in their usual files. Called by every process.

    Args:
        directory (`Path`):
            Directory of the checkpoint.
        accelerator ([`~accelerate.Accelerator`]):
            Writes the state of a DeepSpeed engine.
        model (`torch.nn.Module`):
            Prepared module of policy and critic: trained parameters are stored as they are.
        optimizer, lr_scheduler:
            With `state_dict`.
        extra (`Mapping[str, Any]`):
            Values for JSON.
    """
    target = directory / TRAINING_STATE
    target.mkdir(exist_ok=True)
    if _is_deepspeed(accelerator):
        accelerator.save_state(str(target / "engine"), safe_serialization=False)
    elif accelerator.is_main_process:
        torch.save(_trained(accelerator.unwrap_model(model)), target / "parameters.pt")
        torch.save(optimizer.state_dict(), target / "optimizer.pt")
        if accelerator.scaler is not None:
            torch.save(accelerator.scaler.state_dict(), target / "scaler.pt")
    if accelerator.is_main_process:
        torch.save(lr_scheduler.state_dict(), target / "scheduler.pt")
        (target / "state.json").write_text(json.dumps(dict(extra)), encoding="utf-8")
    torch.save(random_state(), target / f"random-{accelerator.process_index}.pt")


def load_training_state(
    directory: Path, accelerator: Accelerator, model: torch.nn.Module, optimizer: Any, lr_scheduler: Any
) -> dict[str, Any]:
    """
    Read what `save_training_state` wrote, all but the random state. Called by every process.

    Returns:
        `dict[str, Any]`: The values given as `extra`.
    """
    source = directory / TRAINING_STATE
    load_models(directory, accelerator, model)
    if not _is_deepspeed(accelerator):  # its engine's state holds them
        optimizer.load_state_dict(_load(source / "optimizer.pt"))
        if accelerator.scaler is not None:
            accelerator.scaler.load_state_dict(_load(source / "scaler.pt"))
    lr_scheduler.load_state_dict(_load(source / "scheduler.pt"))
    extra: dict[str, Any] = json.loads((source / "state.json").read_text(encoding="utf-8"))
    return extra


def load_models(directory: Path, accelerator: Accelerator, model: torch.nn.Module) -> None:
    """
    Set the trained parameters of policy and critic to those of a checkpoint. Called by every process.

    A DeepSpeed engine takes its optimizer's state with them.

    Raises:
        BadInputError: If the checkpoint is one of other parameters.
    """
    source = directory / TRAINING_STATE
    if _is_deepspeed(accelerator):
        accelerator.load_state(str(source / "engine"))
        return
    bare = accelerator.unwrap_model(model)
    stored = _load(source / "parameters.pt")
    names = _trained(bare).keys()
    if stored.keys() != names:
        odd = sorted(stored.keys() ^ names)
        raise BadInputError(
            f"{source}: {len(odd)} trained parameters are only there or only here, such as `{odd[0]}`. Resume "
            "with the model and the adapter that the checkpoint was saved with."
        )
    bare.load_state_dict(stored, strict=False)


def load_random_state(directory: Path, accelerator: Accelerator) -> None:
    """Set this process's random state to the one that it saved, if as many processes were saved."""
    path = directory / TRAINING_STATE / f"random-{accelerator.process_index}.pt"
    if path.exists():
        set_random_state(_load(path))


def random_state() -> dict[str, Any]:
    """State of all generators of this process: Python's, NumPy's, PyTorch's."""
    name, keys, *rest = np.random.get_state(legacy=True)
    return {
        "python": random.getstate(),
        "numpy": (name, torch.from_numpy(np.asarray(keys, dtype=np.int64)), *rest),
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }


def set_random_state(state: Mapping[str, Any]) -> None:
    """Set all generators of this process."""
    version, internal, gauss = state["python"]
    random.setstate((version, tuple(internal), gauss))
    name, keys, *rest = state["numpy"]
    np.random.set_state((name, keys.numpy().astype(np.uint32), *rest))
    torch.set_rng_state(state["torch"])
    if state["cuda"] and torch.cuda.is_available():
        torch.cuda.set_rng_state_all(state["cuda"])


def _trained(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Parameters that training changes, by name."""
    return {name: p.detach() for name, p in model.named_parameters() if p.requires_grad}


def _load(path: Path) -> Any:
    return torch.load(path, map_location="cpu", weights_only=True)


def _is_deepspeed(accelerator: Accelerator) -> bool:
    return accelerator.state.deepspeed_plugin is not None
