"""
Start a command in several processes by `accelerate launch`.

`--accelerate_config NAME` names a file of `stepcoder_trl/accelerate_configs` or a file of the user, as in TRL's
command line. The other flags are those of `accelerate launch` that depend on the machine.
"""

from __future__ import annotations

import argparse
import importlib.resources
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from stepcoder_trl.cli.flags import Settings, parse_known
from stepcoder_trl.errors import BadInputError


CONFIG_NAMES = ("single", "ddp", "zero2", "zero3", "zero3_offload")
NO_FSDP = (
    "FSDP is not supported: accelerate runs it only on GPUs, so no test covers it, and without a GPU each process "
    "would silently train on its own. Use `zero2` or `zero3`, which shard the same tensors."
)


@dataclass
class LaunchArguments:
    """Arguments that distribute training over processes and machines."""

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
            "help": "Number of processes on all machines. `None` means the configuration's number, or one per GPU. "
            "Needs `accelerate_config`."
        },
    )
    num_machines: int | None = field(
        default=None, metadata={"help": "Number of machines. Run the command on each. Needs `accelerate_config`."}
    )
    machine_rank: int | None = field(default=None, metadata={"help": "Rank of this machine, counted from 0."})
    main_process_ip: str | None = field(default=None, metadata={"help": "IP address of machine 0."})
    main_process_port: int | None = field(
        default=None, metadata={"help": "Port of machine 0 for communication between the processes."}
    )


def find_config(name: str) -> Path:
    """Return the path of a shipped accelerate configuration, or of the user's. FSDP is refused."""
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
    """Read an accelerate configuration. FSDP is refused."""
    import yaml

    try:
        config = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise BadInputError(f"{path}: cannot be read as YAML ({error}). Pass an accelerate configuration.") from error
    if not isinstance(config, dict):
        raise BadInputError(f"{path}: is not a mapping. Pass a configuration file such as `accelerate config` writes.")
    if str(config.get("distributed_type")).upper() == "FSDP" or config.get("fsdp_config"):
        raise BadInputError(f"{path}: `distributed_type` is FSDP. {NO_FSDP}")
    return config


def accelerate_arguments(launch: LaunchArguments, num_gpus: int) -> list[str]:
    """Return the arguments of `accelerate launch` that precede the script."""
    path = find_config(str(launch.accelerate_config))
    config = read_config(path)
    machines = launch.num_machines or int(config.get("num_machines") or 1)
    processes = launch.num_processes or config.get("num_processes") or max(1, num_gpus) * machines
    if processes < machines or processes % machines:
        raise BadInputError(
            f"`num_processes` is {processes}, but must be a multiple of the {machines} machines. It counts the "
            "processes on all machines."
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


def read_launch(settings: Settings) -> LaunchArguments:
    """Return the flags and settings that distribute a run. All other options are left to the module of the verb."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    names = [one.name for one in fields(LaunchArguments)]
    words = [
        f"--{name}={value}" for name, value in settings.values.items() if name in names and value not in (None, False)
    ]
    for one in fields(LaunchArguments):
        kind = int if "int" in str(one.type) else str
        parser.add_argument(f"--{one.name}", f"--{one.name.replace('_', '-')}", type=kind)
    found, _ = parse_known(settings, parser, words)
    for name in ("num_processes", "num_machines"):
        value = vars(found)[name]
        if value is not None and value < 1:
            raise BadInputError(f"`{name}` is {value}, but must be at least 1. Leave it out for the default.")
    return LaunchArguments(**vars(found))


def exit_status(rank: int, exitcode: int) -> int:
    """Return the exit status for the first process that failed. Say so if a signal ended it: it could not itself."""
    if exitcode >= 0:
        return exitcode or 1
    name = signal.Signals(-exitcode).name
    print(f"stepcoder-trl: process {rank} was ended by {name}, and with it the others.", file=sys.stderr)
    return 128 - exitcode


def launch_module(module: str, arguments: list[str], launch: LaunchArguments) -> int:
    """Launch a module in several processes. Return the exit status of the first that failed, else 0."""
    import torch
    from accelerate.commands.launch import launch_command, launch_command_parser
    from accelerate.utils import is_deepspeed_available
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

    flags = accelerate_arguments(launch, torch.cuda.device_count())
    parsed = launch_command_parser().parse_args([*flags, "--module", module, *arguments])
    config = read_config(Path(parsed.config_file))
    if config.get("distributed_type") == "DEEPSPEED" and not is_deepspeed_available():
        raise BadInputError(
            f"`accelerate_config` {launch.accelerate_config!r} needs DeepSpeed. Run `pip install "
            "stepcoder-trl[deepspeed]`."
        )
    if int(parsed.num_processes) > int(parsed.num_machines):
        os.environ.setdefault("OMP_NUM_THREADS", "1")  # torch does the same, with five lines about it
    # Each process has said itself why it failed.
    logging.getLogger("torch.distributed.elastic.multiprocessing.api").setLevel(logging.CRITICAL)
    try:
        launch_command(parsed)
    except ChildFailedError as error:
        rank, failure = error.get_first_failure()
        return exit_status(rank, int(failure.exitcode))
    except SignalException as error:  # the processes have said at which update they stop
        return 128 + int(error.sigval)
    except subprocess.CalledProcessError as error:  # raised for the single process of `single`
        return error.returncode
    return 0
