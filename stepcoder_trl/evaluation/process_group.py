"""Leaving torch's process group in time."""

from __future__ import annotations

import atexit
import gc

import torch


def leave_gloo_at_exit() -> None:
    """
    Have this process leave a gloo process group before its interpreter is taken down.

    A group that is never destroyed keeps its threads, and one that frees tensors of the last collective during the
    interpreter's shutdown aborts the process ("terminate called without an active exception", pytorch/pytorch#190489):
    rare, but the launcher then reports a failure of a run whose work is all done. Nothing is done for NCCL, where
    leaving waits for processes that may have failed.
    """
    if _is_in_group() and torch.distributed.get_backend() == "gloo":
        atexit.register(_leave)


def _leave() -> None:
    if _is_in_group():
        torch.distributed.destroy_process_group()
        gc.collect()  # what was trained may hold the group in a cycle, and its threads with it


def _is_in_group() -> bool:
    return torch.distributed.is_available() and bool(torch.distributed.is_initialized())
