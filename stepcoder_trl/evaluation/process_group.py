"""Leaves torch's process group before the interpreter shuts down."""

from __future__ import annotations

import atexit
import gc

import torch


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
