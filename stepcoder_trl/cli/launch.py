"""
Several processes: a command is started anew in each through `accelerate launch`.

`--accelerate_config NAME` names a file of `stepcoder_trl/accelerate_configs` or the user's own, as in TRL's command
line. The other flags here are those of `accelerate launch` that such a file cannot know.
"""

from __future__ import annotations

import importlib.resources
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from stepcoder_trl.errors import BadInputError


CONFIG_NAMES = ("single", "ddp", "zero2", "zero3", "zero3_offload")
NO_FSDP = (
    "FSDP is not supported: accelerate runs it on GPUs alone, so that no test here covers it, and without a GPU each "
    "process would train for itself, without a word. Use `zero2` or `zero3`, which share out the same things."
)


@dataclass
class LaunchArguments:
    """
    How many processes train, and how they share the work.

    Args:
        accelerate_config (`str`, *optional*):
            `single`, `ddp`, `zero2`, `zero3`, `zero3_offload`, or the path of an accelerate configuration. `None`
            trains in this process.
        num_processes (`int`, *optional*):
            Processes on all machines. `None` means what the configuration says, else one per GPU.
        num_machines (`int`, *optional*):
            Machines. The command is given on each.
        machine_rank (`int`, *optional*):
            Number of this machine, from 0.
        main_process_ip (`str`, *optional*):
            Address of machine 0.
        main_process_port (`int`, *optional*):
            Port on machine 0 where the processes meet.
    """

    accelerate_config: str | None = field(
        default=None,
        metadata={
            "help": "`single`, `ddp`, `zero2`, `zero3`, `zero3_offload`, or the path of an accelerate configuration. "
            "`None` trains in this process."
        },
    )
    num_processes: int | None = field(
        default=None,
        metadata={
            "help": "Processes on all machines. `None` means what the configuration says, else one per GPU. Needs "
            "`accelerate_config`."
        },
    )
    num_machines: int | None = field(
        default=None, metadata={"help": "Machines. The command is given on each. Needs `accelerate_config`."}
    )
    machine_rank: int | None = field(default=None, metadata={"help": "Number of this machine, from 0."})
    main_process_ip: str | None = field(default=None, metadata={"help": "Address of machine 0."})
    main_process_port: int | None = field(
        default=None, metadata={"help": "Port on machine 0 where the processes meet."}
    )


def find_config(name: str) -> Path:
    """
    File of an accelerate configuration.

    Args:
        name (`str`):
            Name of a shipped file, or a path.

    Returns:
        `Path`

    Raises:
        BadInputError: If there is none of that name, or it asks for FSDP.
    """
    path = Path(name)
    if not path.is_file():
        if name.lower().startswith("fsdp"):
            raise BadInputError(f"`accelerate_config` is {name!r}. {NO_FSDP}")
        if name not in CONFIG_NAMES:
            raise BadInputError(
                f"`accelerate_config` is {name!r}, but must be one of {', '.join(CONFIG_NAMES)} or the path of a "
                "file. Check the spelling."
            )
        path = Path(str(importlib.resources.files("stepcoder_trl") / "accelerate_configs" / f"{name}.yaml"))
    return path


def read_config(path: Path) -> dict[str, Any]:
    """
    Read an accelerate configuration.

    Raises:
        BadInputError: If it is no mapping in YAML, or asks for FSDP.
    """
    import yaml

    try:
        config = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise BadInputError(f"{path}: cannot be read as YAML ({error}). Pass an accelerate configuration.") from error
    if not isinstance(config, dict):
        raise BadInputError(f"{path}: is no mapping. Pass an accelerate configuration, as `accelerate config` writes.")
    if str(config.get("distributed_type")).upper() == "FSDP" or config.get("fsdp_config"):
        raise BadInputError(f"{path}: `distributed_type` is FSDP. {NO_FSDP}")
    return config


def accelerate_arguments(launch: LaunchArguments, num_gpus: int) -> list[str]:
    """
    Arguments of `accelerate launch`, up to the script.

    Args:
        launch ([`LaunchArguments`]):
            What the user asked for, `accelerate_config` among it.
        num_gpus (`int`):
            GPUs of this machine.

    Returns:
        `list[str]`

    Raises:
        BadInputError: If the configuration cannot be used.
    """
    path = find_config(str(launch.accelerate_config))
    config = read_config(path)
    machines = launch.num_machines or int(config.get("num_machines") or 1)
    processes = launch.num_processes or config.get("num_processes") or max(1, num_gpus) * machines
    if processes < machines or processes % machines:
        raise BadInputError(
            f"`num_processes` is {processes}, but must be a multiple of the {machines} machines: it counts the "
            "processes of all of them."
        )
    flags: Mapping[str, Any] = {
        "config_file": path,
        "num_processes": processes,
        "num_machines": machines,
        "machine_rank": launch.machine_rank,
        "main_process_ip": launch.main_process_ip,
        "main_process_port": launch.main_process_port,
    }
    return [text for name, value in flags.items() if value is not None for text in (f"--{name}", str(value))]


def here_or_launched(module: str, train: Callable[[list[str]], int], arguments: list[str]) -> int:
    """
    Train in this process, or start a module in each of several.

    Args:
        module (`str`):
            Module that calls `train` when it is run.
        train (`Callable[[list[str]], int]`):
            Parses all arguments and trains in its process; returns the exit status.
        arguments (`list[str]`):
            Arguments of the verb.

    Returns:
        `int`: Exit status.

    Raises:
        BadInputError: If several processes are asked for, but not how they share the work.
    """
    from trl import TrlParser

    if "--help" in arguments or "-h" in arguments:
        return train(arguments)
    launch, _ = TrlParser((LaunchArguments,), allow_abbrev=False).parse_args_and_config(
        arguments, return_remaining_strings=True
    )
    if launch.accelerate_config is not None:
        return launch_module(module, arguments, launch)
    for name in ("num_processes", "num_machines"):
        if (getattr(launch, name) or 1) > 1:
            raise BadInputError(
                f"`{name}` is given without `accelerate_config`. Say how the processes share the work: "
                "`--accelerate_config ddp`, `zero2` or `zero3`."
            )
    return train(arguments)


def launch_module(module: str, arguments: list[str], launch: LaunchArguments) -> int:
    """
    Run a module with its arguments in every process.

    Args:
        module (`str`):
            Name, as after `python -m`.
        arguments (`list[str]`):
            Its arguments.
        launch ([`LaunchArguments`]):
            Processes.

    Returns:
        `int`: Exit status: that of the first process that failed, else 0.

    Raises:
        BadInputError: If the configuration cannot be used, or DeepSpeed is asked for and not installed.
    """
    import torch
    from accelerate.commands.launch import launch_command, launch_command_parser
    from accelerate.utils import is_deepspeed_available
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

    flags = accelerate_arguments(launch, torch.cuda.device_count())
    parsed = launch_command_parser().parse_args([*flags, "--module", module, *arguments])
    config = read_config(Path(parsed.config_file))
    if config.get("distributed_type") == "DEEPSPEED" and not is_deepspeed_available():
        raise BadInputError(
            f"`accelerate_config` {launch.accelerate_config!r} needs DeepSpeed. Run `pip install "
            "stepcoder-trl[deepspeed]`."
        )
    try:
        launch_command(parsed)
    except ChildFailedError as error:
        return int(error.get_first_failure()[1].exitcode) or 1
    except subprocess.CalledProcessError as error:  # the one process of `single`
        return error.returncode
    return 0
