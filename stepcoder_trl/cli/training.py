"""What the verbs `sft`, `ppo` and `grpo` share: their flags as dataclasses, and checks before a model is loaded."""

from __future__ import annotations

import importlib.util
import logging
import os
import tempfile
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import Any, get_args, get_type_hints

from stepcoder_trl.cli import launch
from stepcoder_trl.cli.flags import CONFIG, Settings, did_you_mean, parse_flags, read_settings
from stepcoder_trl.cli.training_help import help_text
from stepcoder_trl.errors import BadInputError
from stepcoder_trl.jsonl import parse_json


logger = logging.getLogger(__name__)


# Package of each tracker whose name differs, and the name under which it is installed.
_TRACKER_MODULES = {"azure_ml": "azureml"}
_QUANTIZATION = ("load_in_4bit", "load_in_8bit")


def train_or_launch(verb: str, train: Callable[[list[str]], int], arguments: list[str]) -> int:
    """
    Train in this process, or launch the module of a verb, which calls `train`, in several. Return the exit status.

    `--help` prints the main options, and `--help-all` all that `train` knows.
    """
    if "--help" in arguments or "-h" in arguments:
        print(help_text(verb), end="")
        return 0
    if "--help-all" in arguments:
        return train(["--help"])

    settings = read_settings(arguments)
    how = launch.read_launch(settings)
    if how.accelerate_config is not None:
        launch.find_config(how.accelerate_config)
        read_values(verb, settings)  # so that a mistake is found once, before there are several processes
        return launch.launch_module(f"stepcoder_trl.cli.{verb}", arguments, how)
    for name in ("num_processes", "num_machines"):
        if (vars(how)[name] or 1) > 1:
            raise BadInputError(
                f"`{name}` is given without `accelerate_config`. Add `--accelerate_config ddp`, `zero2` or `zero3` to "
                "select how the processes share the work."
            )
    return train(arguments)


def training_classes(verb: str) -> tuple[Any, Any, Mapping[str, Any]]:
    """Return the arguments of the script, the configuration of the trainer, and defaults that differ from theirs."""
    from stepcoder_trl.trainer import entry

    if verb == "sft":
        from trl import SFTConfig

        from stepcoder_trl.trainer.sft import SFT_DEFAULTS

        return entry.SFTScriptArguments, SFTConfig, SFT_DEFAULTS
    if verb == "grpo":
        from stepcoder_trl.trainer.grpo_config import StepCoderGRPOConfig

        return entry.PPOScriptArguments, StepCoderGRPOConfig, {}
    from stepcoder_trl.trainer.ppo_config import StepCoderPPOConfig

    return entry.PPOScriptArguments, StepCoderPPOConfig, {}


def parse_training(verb: str, arguments: Sequence[str]) -> tuple[Any, Any, Any]:
    """
    Parse `--config x.yaml` and flags of a verb. Return the arguments of script, trainer and model.

    `--help` prints all options with their defaults.

    Raises:
        BadInputError: If an option is unknown, a value invalid, or a package missing that an option needs.
    """
    return parse_settings(verb, read_settings(arguments))


def parse_settings(verb: str, settings: Settings) -> tuple[Any, Any, Any]:
    """Parse a command line as [`parse_training`] does."""
    found = read_values(verb, settings)
    if found["deepspeed"] and not found["accelerate_config"] and "LOCAL_RANK" not in os.environ:
        raise BadInputError(
            "`deepspeed` needs a launcher. Start with `--accelerate_config zero2` in its place, or with an accelerate "
            "configuration that has `deepspeed_config: {deepspeed_config_file: FILE}`."
        )
    script_class, training_class, _ = training_classes(verb)
    script, training, model = (_make(one, found) for one in (script_class, training_class, _model_class()))
    if verb == "sft":  # the other configurations check themselves
        from stepcoder_trl.trainer.shared_options import check_inherited

        check_inherited(training)
    if training.max_steps == 0:
        raise BadInputError("`max_steps` is 0, so nothing would be trained. Leave it out to train `num_train_epochs`.")
    if training.hub_model_id is not None and not training.push_to_hub:
        logger.warning("`hub_model_id` is given without `push_to_hub`: cards have this name, but nothing is uploaded.")
    check_packages(training, model)
    _check_adapter(model)
    _check_evaluation(script, training)
    _check_checkpoint(training.resume_from_checkpoint)
    _check_output_dir(training.output_dir, model.model_name_or_path)
    return script, training, model


def read_values(verb: str, settings: Settings) -> dict[str, Any]:
    """Return the value of each option of a verb. Raises a `BadInputError` for an unknown name or an invalid value."""
    from transformers import HfArgumentParser

    script_class, training_class, defaults = training_classes(verb)
    classes = (script_class, launch.LaunchArguments, training_class, _model_class())
    parser: Any = HfArgumentParser(classes, prog=f"stepcoder-trl {verb}", allow_abbrev=False)
    parser.set_defaults(**defaults)
    hints: dict[str, Any] = {name: hint for one in classes for name, hint in get_type_hints(one).items()}
    nullable = [name for name, hint in hints.items() if type(None) in get_args(hint)]
    found = vars(parse_flags(settings, parser, verb, nullable))
    for name, value in found.items():
        if "dict" in str(hints.get(name)) and isinstance(value, str):
            found[name] = _read_object(name, value)
    return found


def _model_class() -> Any:
    from trl import ModelConfig

    return ModelConfig


def _read_object(name: str, value: str) -> Any:
    """Return the value of an option that takes an object: JSON, or text that names a file."""
    if not value.lstrip().startswith("{"):
        return value
    try:
        return parse_json(value)
    except ValueError as error:
        raise BadInputError(f'`{name}` is {value!r}, which is no JSON: {error}. Write {{"name": value}}.') from None


def _make(cls: Any, found: Mapping[str, Any]) -> Any:
    """Return a dataclass of the values that belong to it. What it refuses becomes a `BadInputError` of one line."""
    values = {one.name: found[one.name] for one in fields(cls) if one.init}
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "`gradient_checkpointing` is deprecated", FutureWarning)  # TRL sets it
            return cls(**values)
    except BadInputError:
        raise
    except (ImportError, KeyError, RuntimeError, TypeError, ValueError) as error:
        reason = " ".join(str(error).split()).rstrip(".")
        raise BadInputError(f"{reason}. Correct the options.") from error


def check_packages(training_args: Any, model_args: Any) -> None:
    """Raise a `BadInputError` with the command to run if a package is missing that an option needs."""
    from transformers.integrations import INTEGRATION_TO_CALLBACK

    trackers = training_args.report_to or []
    for name in [trackers] if isinstance(trackers, str) else trackers:
        if name not in INTEGRATION_TO_CALLBACK and name not in ("all", "none"):
            fix = did_you_mean(name, INTEGRATION_TO_CALLBACK, "Check the spelling.")
            raise BadInputError(f"`report_to` is {name!r}, which is no experiment tracker. {fix}")
        if name not in ("all", "none", "codecarbon"):
            _need(_TRACKER_MODULES.get(name, name), f"`report_to` {name!r}", name.replace("_", "-"))
    for name in _QUANTIZATION:
        if getattr(model_args, name):
            _need("bitsandbytes", f"`{name}`", "bitsandbytes")


def _need(module: str, what: str, package: str) -> None:
    if importlib.util.find_spec(module) is None:
        raise BadInputError(f"{what} needs {package}, which is not installed. Run `pip install {package}`.")


def _check_adapter(model_args: Any) -> None:
    """Raise a `BadInputError` if options of a LoRA adapter are given without one, or its size is impossible."""
    for one in fields(model_args):
        value = vars(model_args)[one.name]
        if not one.name.startswith("lora_"):
            continue
        if not model_args.use_peft and value != one.default and one.default_factory is MISSING:
            logger.warning(
                f"`{one.name}` has no effect: without `use_peft` there is no adapter, and the whole model is trained."
            )
        if one.name in ("lora_r", "lora_alpha") and value < 1:
            raise BadInputError(f"`{one.name}` is {value}, but must be at least 1. Leave it out for the default.")


def _check_evaluation(script_args: Any, training_args: Any) -> None:
    """Raise a `BadInputError` if evaluations are asked for without problems, or problems without evaluations."""
    strategy = str(training_args.eval_strategy.value)
    problems = vars(script_args).get("eval_problems")  # fine-tuning has none
    if strategy != "no" and not problems:
        fix = "Add `eval_problems`" if "eval_problems" in vars(script_args) else "`sft` does not evaluate"
        raise BadInputError(f"`eval_strategy` is {strategy!r}, but there are no problems to evaluate on. {fix}.")
    if strategy == "no" and problems and not training_args.eval_on_start:
        raise BadInputError(
            "`eval_problems` is given, but `eval_strategy` is 'no'. Add `--eval_strategy steps --eval_steps 10`, or "
            "leave it out."
        )


def _check_checkpoint(flag: str | bool | None) -> None:
    """Raise a `BadInputError` if the checkpoint to resume from is a path that is not there."""
    is_path = isinstance(flag, str) and flag.lower() not in ("true", "false")
    if is_path and not Path(str(flag)).is_dir():
        raise BadInputError(
            f"`resume_from_checkpoint` is {flag!r}, but there is no such folder. Write `true` for the newest."
        )
    if is_path and not Path(str(flag), "trainer_state.json").is_file():
        raise BadInputError(
            f"`resume_from_checkpoint` is {flag!r}, which is no checkpoint that was written to its end: it has no "
            "`trainer_state.json`. Name another one."
        )


def _check_output_dir(folder: str | None, model: str | None) -> None:
    """Raise a `BadInputError` if a run cannot write to its folder, or would overwrite the model it begins with."""
    path = Path(folder or "trainer_output").absolute()
    existing = next(one for one in (path, *path.parents) if os.path.lexists(one))
    if not existing.is_dir():
        raise BadInputError(f"`output_dir` is {folder!r}, but {existing} is a file. Choose another folder.")
    try:
        tempfile.TemporaryDirectory(dir=existing).cleanup()
    except OSError as error:
        raise BadInputError(
            f"`output_dir` is {folder!r}, but {existing} cannot be written to ({error.strerror}). Choose another "
            "folder."
        ) from None
    if model is not None and path.is_dir() and os.path.isdir(model) and path.samefile(model):
        raise BadInputError(
            f"`output_dir` is {folder!r}, and so is `model_name_or_path`: the model would be overwritten. Choose "
            "another folder."
        )


@dataclass(frozen=True)
class Run:
    """Run that a YAML file describes."""

    script_args: Any
    training_args: Any
    model_args: Any
    problems: list[str]
    num_processes: int
    zero_stage: int


def read_run(verb: str, path: str, problems: Sequence[str] = ()) -> Run:
    """
    Read the run that a YAML file describes. `problems` replace those of the file.

    Raises:
        BadInputError: If the file cannot be read, an option is unknown or invalid, or no problems are named.
    """
    settings = read_settings([CONFIG, path])
    values = dict(settings.values)
    named = list(problems) or values.get("problems") or []
    named = [named] if isinstance(named, str) else list(named)
    if not named:
        raise BadInputError(f"{path}: `problems` is missing. Add it, or name files of problems on the command line.")
    values["problems"] = named[0]
    if not _has_gpu():
        values.setdefault("use_cpu", True)  # the run may be meant for another machine
    how = launch.read_launch(Settings((), values, path))
    script, training, model = parse_settings(verb, Settings((), values, path))
    config = {} if how.accelerate_config is None else launch.read_config(launch.find_config(how.accelerate_config))
    deepspeed = config.get("deepspeed_config") or {}
    processes = how.num_processes or config.get("num_processes") or 1
    return Run(script, training, model, named, int(processes), int(deepspeed.get("zero_stage") or 0))


def _has_gpu() -> bool:
    import torch

    return bool(torch.cuda.is_available())
