"""Processes that a launcher started together."""

from __future__ import annotations

import atexit
import gc
from datetime import timedelta
from typing import Any

import torch

from stepcoder_trl.errors import BadInputError


def join_processes() -> Any:
    """
    Join the processes that the launcher started, and return accelerate's `PartialState`.

    If the processes do not see each other, a `BadInputError` is raised: each would sample for itself.
    """
    from accelerate import PartialState
    from accelerate.utils import get_int_from_env, parse_flag_from_env

    # On the CPU, processes find each other only if `cpu` is set. A process waits for the others while they sample.
    on_cpu = parse_flag_from_env("ACCELERATE_USE_CPU") or not torch.accelerator.is_available()
    state = PartialState(cpu=on_cpu, timeout=timedelta(days=7))
    started = get_int_from_env(["WORLD_SIZE"], 1)
    if state.num_processes != started:
        raise BadInputError(
            f"{started} processes were started, but accelerate sees {state.num_processes}: each would sample for "
            "itself. Start them with `accelerate launch --config_file`."
        )
    leave_gloo_at_exit()
    return state


def leave_gloo_at_exit() -> None:
    """
    Make this process leave a gloo process group before its interpreter shuts down.

    A group that is not destroyed keeps its threads. In rare cases a thread frees tensors of the last collective while
    the interpreter shuts down, and aborts the process ("terminate called without an active exception",
    pytorch/pytorch#190489). The launcher then reports an error although the run is finished. NCCL is left alone,
    because leaving its group waits for processes that may have failed.
    """
    if _is_in_group() and torch.distributed.get_backend() == "gloo":
        atexit.register(_leave)


def _leave() -> None:
    if _is_in_group():
        torch.distributed.destroy_process_group()
        gc.collect()  # a trained model may keep the group and its threads alive in a reference cycle


def _is_in_group() -> bool:
    return torch.distributed.is_available() and bool(torch.distributed.is_initialized())
