"""What the verbs `sft`, `ppo` and `grpo` share: their flags as dataclasses, and checks before a model is loaded."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from stepcoder_trl.cli.flags import Settings, did_you_mean, parse_flags, read_settings
from stepcoder_trl.cli.launch import LaunchArguments
from stepcoder_trl.errors import BadInputError


# Package of each tracker whose name differs, and the name under which it is installed.
_TRACKER_MODULES = {"azure_ml": "azureml", "comet_ml": "comet_ml", "dvclive": "dvclive", "clearml": "clearml"}
_QUANTIZATION = ("load_in_4bit", "load_in_8bit")


def parse_training(
    verb: str,
    arguments: Sequence[str],
    script_class: Any,
    training_class: Any,
    defaults: Mapping[str, Any] | None = None,
) -> tuple[Any, Any, Any]:
    """
    Parse `--config x.yaml` and flags. Return the arguments of script, trainer and model.

    `--help` prints all options with their defaults.

    Args:
        verb (`str`): Verb, for messages.
        arguments (`Sequence[str]`): Words after the verb.
        script_class, training_class (dataclasses): Arguments of the script, configuration of the trainer.
        defaults (`Mapping[str, Any]`, *optional*): Defaults that differ from those of the dataclasses.

    Raises:
        BadInputError: If an option is unknown, a value invalid, or a package missing that an option needs.
    """
    return parse_settings(verb, read_settings(arguments), script_class, training_class, defaults)


def parse_settings(
    verb: str,
    settings: Settings,
    script_class: Any,
    training_class: Any,
    defaults: Mapping[str, Any] | None = None,
) -> tuple[Any, Any, Any]:
    """Parse a command line as [`parse_training`] does."""
    from transformers import HfArgumentParser
    from trl import ModelConfig

    classes = (script_class, LaunchArguments, training_class, ModelConfig)
    parser: Any = HfArgumentParser(classes, prog=f"stepcoder-trl {verb}", allow_abbrev=False)
    parser.set_defaults(**(defaults or {}))
    found = vars(parse_flags(settings, parser, verb))
    script, _, training, model = (_make(one, found) for one in classes)
    check_packages(training, model)
    _check_output_dir(training.output_dir)
    return script, training, model


def _make(cls: Any, found: Mapping[str, Any]) -> Any:
    """Return a dataclass of the values that belong to it. What it refuses becomes a `BadInputError` of one line."""
    from dataclasses import fields

    values = {one.name: found[one.name] for one in fields(cls) if one.init}
    try:
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


def _check_output_dir(folder: str | None) -> None:
    """Raise a `BadInputError` if a run cannot write to its folder."""
    path = Path(folder or "trainer_output").absolute()
    existing = next(one for one in (path, *path.parents) if os.path.lexists(one))
    if not existing.is_dir():
        raise BadInputError(f"`output_dir` is {folder!r}, but {existing} is a file. Choose another folder.")
    if not os.access(existing, os.W_OK | os.X_OK):
        raise BadInputError(f"`output_dir` is {folder!r}, but {existing} cannot be written to. Choose another folder.")
