"""
Checkpoints, written under a temporary name and then renamed: a folder called `checkpoint-N` is complete.

    checkpoint-N/
      config.json, model.safetensors, ...     policy or its adapter, with the tokenizer
      value_model/                            critic or its adapter
      stepcoder_run.json                      id of the run, prompt style and stop tokens
      curriculum.json                         stage and pass rate of every problem
      trainer_state.json                      counters, logged history, callbacks
      training_state/                         what an exact continuation needs in addition

If a process is killed, `checkpoint-N` is complete or missing. The name of a folder that is being written, replaced or
deleted begins with `tmp-`. The next run deletes it.
"""

from __future__ import annotations

import json
import logging
import os
import random
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from peft import PeftConfig, PeftModel
from safetensors import SafetensorError

from stepcoder_trl.errors import BadInputError
from stepcoder_trl.jsonl import write_json
from stepcoder_trl.steps.rows import dataset_digest
from stepcoder_trl.trainer.processes import is_deepspeed
from stepcoder_trl.trainer.run_identity import checkpoints_of_run


if TYPE_CHECKING:
    from stepcoder_trl.trainer.grpo_trainer import StepCoderGRPOTrainer
    from stepcoder_trl.trainer.ppo_trainer import StepCoderPPOTrainer

logger = logging.getLogger(__name__)

TRAINING_STATE = "training_state"
VALUE_MODEL = "value_model"
CURRICULUM = "curriculum.json"
ENGINE = "engine"
TRAINED = "trained.json"
ADAPTER = "adapter_config.json"
# What an adapter computes does not depend on these fields of its configuration.
_OTHER_FIELDS = {
    *("auto_mapping", "base_model_name_or_path", "inference_mode", "lora_dropout", "peft_version", "revision"),
    *("runtime_config", "task_type", "_custom_modules"),
}
_FLAGS = {name: f"lora_{name}" for name in ("r", "target_modules", "modules_to_save")}  # the others have their name
_OPTIMIZERS = ("optimizer*", "global_step*")  # of transformers, and of DeepSpeed
STATE_FILE = "trainer_state.json"  # written last by trainers of transformers
_NAME = re.compile(r"checkpoint-(\d+)")
_TEMPORARY = "tmp-"
_FULL_DISK = ("No space left on device", "Disk quota exceeded", "inline_container.cc")  # the last is torch's


def checkpoints(output_dir: str | os.PathLike[str]) -> list[Path]:
    """Return the checkpoints of a run, oldest first."""
    root = Path(output_dir)
    found = [(int(match[1]), path) for path in root.glob("checkpoint-*") if (match := _NAME.fullmatch(path.name))]
    return [path for _, path in sorted(found)]


def checkpoint_folder(trainer: Any) -> Path:
    """Return the folder of the checkpoint that a trainer of transformers writes now."""
    return Path(trainer.args.output_dir) / f"checkpoint-{trainer.state.global_step}"


def newest_checkpoint(output_dir: str) -> Path:
    """
    Return the newest checkpoint of the run in a folder. A warning names newer ones that were not written to their end.

    Raises:
        BadInputError: If there is none.
    """
    found = checkpoints(output_dir)
    broken = [path for path in found if not (path / STATE_FILE).is_file()]
    whole = checkpoints_of_run(output_dir, [path for path in found if path not in broken])
    if broken and not whole:
        raise BadInputError(
            f"{broken[-1]} was not written to its end, and there is no other checkpoint to resume from. Delete the "
            "run by `overwrite_output_dir=True`, and begin anew."
        )
    if not whole:
        raise BadInputError(f"No checkpoint in {output_dir!r} to resume from. Train without resuming first.")
    if found[-1] in broken:
        logger.warning(f"{found[-1].name} was not written to its end. The run goes on from {whole[-1].name}.")
    return whole[-1]


def find_checkpoint(resume: bool | str | os.PathLike[str], output_dir: str) -> Path:
    """
    Return the checkpoint to continue from: the path `resume`, or the newest one in `output_dir` if it is `True`.

    Raises:
        BadInputError: If there is none, or it was saved without `training_state/`.
    """
    if isinstance(resume, bool):
        path = newest_checkpoint(output_dir)
    else:
        path = Path(resume)
    if not (path / TRAINING_STATE).is_dir():
        raise BadInputError(
            f"`resume_from_checkpoint` is '{path}', which has no directory `{TRAINING_STATE}`. Pass a checkpoint of "
            "this trainer that was saved without `save_only_model`."
        )
    return path


def save_trained(folder: Path, trainer: Any) -> None:
    """Write the batch, the optimizer, and the trained parameters' names and shapes into a checkpoint."""
    write_json(folder / TRAINED, _trained_now(trainer))


def check_trained(folder: Path, trainer: Any) -> None:
    """
    Check that a trainer of transformers trains what a checkpoint trained. One of an older release does not say.

    Raises:
        BadInputError: If it has another adapter, other parameters, another optimizer, or another number of rows per
            update.
    """
    check_adapter(folder, trainer.model)
    if not (folder / TRAINED).is_file():
        return
    if not any(True for kind in _OPTIMIZERS for _ in folder.glob(kind)):
        raise BadInputError(f"{folder} holds no optimizer: it was saved with `save_only_model`. Name another one.")
    saved, now = json.loads((folder / TRAINED).read_text(encoding="utf-8")), _trained_now(trainer)
    _check_shapes(folder, saved["parameters"], now["parameters"])
    if saved["optim"] != now["optim"]:
        raise BadInputError(f"`optim` is {now['optim']!r}, but {folder} was saved with {saved['optim']!r}. Set that.")
    if saved["batch"] != now["batch"]:
        raise BadInputError(
            f"An update takes {now['batch']} rows, but {saved['batch']} where {folder} was saved. Set "
            "`per_device_train_batch_size`, `gradient_accumulation_steps` and the number of processes as there."
        )


def check_adapter(folder: Path, model: torch.nn.Module) -> None:
    """
    Check that a model has the adapter that a checkpoint has.

    Raises:
        BadInputError: If only one of them has an adapter, or it computes something else there, such as by another
            `lora_alpha`.
    """
    if vars(model).get("_hf_peft_config_loaded"):  # transformers put one into the model itself
        return
    has_adapter = isinstance(model, PeftModel)
    if (folder / ADAPTER).is_file() != has_adapter:
        here, fix = ("has one", "Drop") if has_adapter else ("has none", "Add")
        where = "has no adapter" if has_adapter else "has an adapter"
        raise BadInputError(f"{folder} {where}, but this run {here}. {fix} `--use_peft`, in Python `peft_config`.")
    now = model.peft_config.get("default") if has_adapter else None
    if now is None:
        return
    saved = PeftConfig.from_pretrained(str(folder))
    if type(saved) is not type(now):
        raise BadInputError(
            f"{folder} has an adapter of `{type(saved).__name__}`, but this run one of `{type(now).__name__}`. Resume "
            "with that."
        )
    then, today = _as_compared(saved), _as_compared(now)
    odd = [name for name in today if name in then and then[name] != today[name]]
    if odd:
        listed = "; ".join(f"`{_FLAGS.get(name, name)}` is {today[name]}, but {then[name]} there" for name in odd)
        raise BadInputError(f"{folder} has another adapter: {listed}. Set what it was saved with, or begin a new run.")


def _as_compared(config: PeftConfig) -> dict[str, Any]:
    """Return the fields of an adapter's configuration that change what it computes. Names of modules are sorted."""
    return {
        name: sorted(value) if isinstance(value, (list, set)) else value
        for name, value in vars(config).items()
        if name not in _OTHER_FIELDS
    }


def _trained_now(trainer: Any) -> dict[str, Any]:
    args, parameters = trainer.args, trainer.model.named_parameters()
    return {
        "batch": args.train_batch_size * args.gradient_accumulation_steps * args.world_size,
        "optim": str(args.optim.value).removesuffix("_fused"),  # the same, computed in another way
        "parameters": _shapes({name: one for name, one in parameters if one.requires_grad}),
    }


def _check_shapes(source: Path, there: Mapping[str, list[int]], here: Mapping[str, list[int]]) -> None:
    """Raise a `BadInputError` if the trained parameters of a checkpoint, `there`, and of this run differ."""
    if odd := sorted(name for name in there.keys() | here.keys() if there.get(name) != here.get(name)):
        raise BadInputError(
            f"{source}: {len(odd)} trained parameters are only there or only here, or have another shape, such as "
            f"`{odd[0]}`. Resume with the model and the adapter that the checkpoint was saved with."
        )


def _shapes(parameters: Mapping[str, torch.Tensor]) -> dict[str, list[int]]:
    """Return the shape of each parameter, as JSON holds it. ZeRO-3 empties the tensor where it is not gathered."""
    return {name: list(getattr(one, "ds_shape", one.shape)) for name, one in parameters.items()}


@contextmanager
def new_directory(path: Path, is_main_process: bool, wait: Callable[[], None]) -> Iterator[Path]:
    """
    Yield a temporary directory, and rename it to `path` at the end. A directory with that name is replaced.

    `wait` returns when all processes have called it.
    """
    temporary = path.with_name(_TEMPORARY + path.name)
    if is_main_process:
        shutil.rmtree(temporary, ignore_errors=True)
    with told_if_disk_is_full(temporary, is_main_process):
        if is_main_process:
            temporary.mkdir(parents=True)
        wait()
        yield temporary
    wait()
    if is_main_process:
        if path.exists():
            _remove(path)
        temporary.rename(path)
    wait()


@contextmanager
def told_if_disk_is_full(directory: Path, is_main_process: bool = True) -> Iterator[None]:
    """
    Say in one sentence that the disk is full, and delete a directory that was begun.

    Libraries that write tensors raise errors of their own, which do not name the disk.
    """
    existed = directory.exists()
    try:
        yield
    except (OSError, RuntimeError, SafetensorError) as error:
        if not any(sign in str(error) for sign in _FULL_DISK):
            raise
        if is_main_process and not existed:
            shutil.rmtree(directory, ignore_errors=True)
        raise BadInputError(
            f"{directory} cannot be written: the disk is full. Free some space, then go on from the newest checkpoint "
            "by `resume_from_checkpoint=True`."
        ) from error


def _remove(path: Path) -> None:
    """Delete a checkpoint. It is renamed first, so that a half-deleted one has no valid name."""
    doomed = path.with_name(f"{_TEMPORARY}old-{path.name}")
    shutil.rmtree(doomed, ignore_errors=True)
    path.rename(doomed)
    shutil.rmtree(doomed)


def tidy_output(output_dir: str) -> None:
    """Delete incomplete checkpoints."""
    for pattern in (f"{_TEMPORARY}checkpoint-*", f"{_TEMPORARY}old-checkpoint-*"):
        for path in Path(output_dir).glob(pattern):
            shutil.rmtree(path)


def run_settings(
    trainer: StepCoderPPOTrainer | StepCoderGRPOTrainer, batch_size: int | None, num_generations: int
) -> dict[str, Any]:
    """Return the settings that [`check_same_run`] compares. `batch_size` is that of all processes together."""
    rows, plugin = trainer.training_set.given, trainer.accelerator.state.deepspeed_plugin
    return {
        "dataset": dataset_digest(rows),
        "num_rows": len(rows),
        "batch_size": batch_size,
        "num_generations": num_generations,
        "num_processes": trainer.accelerator.num_processes,
        "deepspeed": 0 if plugin is None else plugin.zero_stage,
        "seed": trainer.args.seed,
    }


def remove_old(output_dir: str, limit: int | None, *keep: str | os.PathLike[str] | None) -> None:
    """
    Delete the oldest checkpoints beyond a limit, except for those in `keep`, which count too.

    As for transformers, `None` and all that is not above 0 are no limit.
    """
    if limit is None or limit <= 0:
        return
    kept = {Path(path).resolve() for path in keep if path is not None}
    found = checkpoints(output_dir)
    old = [path for path in found if path.resolve() not in kept]
    for path in old[: max(0, len(found) - limit)]:
        _remove(path)


def check_same_run(saved: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """
    Compare the settings of a checkpoint with those of this run. Warn if the completions or their order will differ.

    Raises:
        BadInputError: If batches or problems differ, or the state is sharded over another number of processes.
    """
    fix = "Resume with the settings it was saved with, or train its model in a run of its own."
    for name in ("batch_size", "num_generations"):
        if saved[name] != now[name]:
            raise BadInputError(
                f"The checkpoint was saved with `{name}` {saved[name]} (completions), now it is {now[name]}: the "
                f"updates done would count for others. {fix}"
            )
    if saved["dataset"] != now["dataset"]:
        raise BadInputError(
            f"The checkpoint was saved while training on other problems: {saved['num_rows']} then, {now['num_rows']} "
            f"now, and not the same. {fix}"
        )
    if saved["deepspeed"] != now["deepspeed"] or (now["deepspeed"] and saved["num_processes"] != now["num_processes"]):
        raise BadInputError(
            f"The checkpoint was saved by {_processes(saved)}, and cannot be read by {_processes(now)}. {fix}"
        )
    if saved["num_processes"] != now["num_processes"]:
        logger.warning(
            f"The checkpoint was saved by {_processes(saved)}, now there are {now['num_processes']}: completions are "
            "drawn otherwise than if it had never stopped."
        )
    if saved["seed"] != now["seed"]:
        logger.warning(
            f"The checkpoint was saved with `seed` {saved['seed']}, now it is {now['seed']}: the order of the "
            "problems will differ."
        )


def _processes(settings: Mapping[str, Any]) -> str:
    number, stage = settings["num_processes"], settings["deepspeed"]
    return f"{number} process{'es' * (number > 1)} {f'with DeepSpeed ZeRO-{stage}' if stage else 'without DeepSpeed'}"


def save_training_state(directory: Path, trainer: StepCoderPPOTrainer, extra: Mapping[str, Any]) -> None:
    """
    Write what an exact continuation needs in addition to the saved models. Every process must call this.

    The trained parameters are stored unchanged, and `extra` as JSON.
    """
    target, accelerator = directory / TRAINING_STATE, trainer.accelerator
    target.mkdir(exist_ok=True)
    if is_deepspeed(accelerator):
        trainer.model.save_checkpoint(str(target), tag=ENGINE, exclude_frozen_parameters=True)
    elif accelerator.is_main_process:
        torch.save(_trained(accelerator.unwrap_model(trainer.model)), target / "parameters.pt")
        torch.save(trainer.optimizer.state_dict(), target / "optimizer.pt")
        if accelerator.scaler is not None:
            torch.save(accelerator.scaler.state_dict(), target / "scaler.pt")
    if accelerator.is_main_process:
        torch.save(trainer.lr_scheduler.state_dict(), target / "scheduler.pt")
        write_json(target / "state.json", dict(extra), indent=None)
    torch.save(random_state(), target / f"random-{accelerator.process_index}.pt")


def load_training_state(directory: Path, trainer: StepCoderPPOTrainer) -> None:
    """Load what `save_training_state` wrote, except for the random state. Every process must call this."""
    source, scaler = directory / TRAINING_STATE, trainer.accelerator.scaler
    load_models(directory, trainer)
    if not is_deepspeed(trainer.accelerator):  # its engine has loaded them with the models
        trainer.optimizer.load_state_dict(_load(source / "optimizer.pt"))
        if scaler is not None:
            scaler.load_state_dict(_load(source / "scaler.pt"))
    trainer.lr_scheduler.load_state_dict(_load(source / "scheduler.pt"))


def own_state(directory: Path) -> dict[str, Any]:
    """Return the values that `save_training_state` got as `extra`."""
    values: dict[str, Any] = json.loads((directory / TRAINING_STATE / "state.json").read_text(encoding="utf-8"))
    return values


def load_models(directory: Path, trainer: StepCoderPPOTrainer) -> None:
    """
    Load the trained parameters, with DeepSpeed also the optimizer. Every process must call this.

    Raises:
        BadInputError: If the checkpoint has other parameters.
    """
    source = directory / TRAINING_STATE
    if is_deepspeed(trainer.accelerator):
        # The checkpoint has no frozen parameters.
        trainer.model.load_checkpoint(
            str(source), tag=ENGINE, load_module_strict=False, load_lr_scheduler_states=False
        )
        return
    bare = trainer.accelerator.unwrap_model(trainer.model)
    stored = _load(source / "parameters.pt")
    _check_shapes(source, _shapes(stored), _shapes(_trained(bare)))
    bare.load_state_dict(stored, strict=False)


def load_random_state(directory: Path, rank: int) -> None:
    """Restore the random state of this process, if the checkpoint has one for its rank."""
    path = directory / TRAINING_STATE / f"random-{rank}.pt"
    if path.exists():
        set_random_state(_load(path))


def random_state() -> dict[str, Any]:
    """Return the states of the random generators of Python, NumPy and PyTorch."""
    name, keys, *rest = np.random.get_state(legacy=True)
    return {
        "python": random.getstate(),
        "numpy": (name, torch.from_numpy(np.asarray(keys, dtype=np.int64)), *rest),
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }


def set_random_state(state: Mapping[str, Any]) -> None:
    """Set the states of the random generators."""
    version, internal, gauss = state["python"]
    random.setstate((version, tuple(internal), gauss))
    name, keys, *rest = state["numpy"]
    np.random.set_state((name, keys.numpy().astype(np.uint32), *rest))
    torch.set_rng_state(state["torch"])
    if state["cuda"] and torch.cuda.is_available():
        torch.cuda.set_rng_state_all(state["cuda"])


def _trained(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Return the trained parameters by name."""
    return {name: p.detach() for name, p in model.named_parameters() if p.requires_grad}


def _load(path: Path) -> Any:
    return torch.load(path, map_location="cpu", weights_only=True)


def save_models(directory: Path, trainer: StepCoderPPOTrainer) -> None:
    """Save policy (or adapter), tokenizer, critic in `value_model/`, and curriculum. Every process must call this."""
    state = trainer.accelerator.get_state_dict(trainer.model)  # gathers sharded parameters
    if trainer.accelerator.is_main_process:
        bare = trainer.accelerator.unwrap_model(trainer.model)
        bare.policy.save_pretrained(directory, state_dict=_part(state, "policy."))
        bare.value_model.save_pretrained(directory / VALUE_MODEL, state_dict=_part(state, "value_model."))
        trainer.processing_class.save_pretrained(directory)
        trainer.run.identity.save(directory)
        if trainer.curriculum is not None:
            trainer.curriculum.save(directory / CURRICULUM)


def _part(state: Mapping[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in state.items() if name.startswith(prefix)}
