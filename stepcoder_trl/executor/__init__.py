"""Sandbox: runs untrusted programs under unit tests and says what became of them and which lines ran."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from stepcoder_trl.executor.backend import Backend, BaseBackend
from stepcoder_trl.executor.pool import CodeExecutor, ExecutorConfig


if TYPE_CHECKING:
    from stepcoder_trl.executor.remote import RemoteConfig, RemoteExecutor

__all__ = ["Backend", "BaseBackend", "CodeExecutor", "ExecutorConfig", "RemoteConfig", "RemoteExecutor"]


def __getattr__(name: str) -> Any:
    """Load the remote backend on first use: most callers have no need of HTTP."""
    if name not in ("RemoteConfig", "RemoteExecutor"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from stepcoder_trl.executor import remote

    return getattr(remote, name)
