"""
Sandbox: runs untrusted programs under unit tests and says what became of them and which lines ran.

Public names are loaded on first use. Fork servers are started from this package too and need none of them: every page
of memory that a server has makes each of its forks slower. Nor do most callers need the remote backend's HTTP.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any


if TYPE_CHECKING:
    from stepcoder_trl.executor.backend import Backend, BaseBackend
    from stepcoder_trl.executor.local.config import ExecutorConfig
    from stepcoder_trl.executor.local.executor import CodeExecutor
    from stepcoder_trl.executor.remote.config import RemoteConfig
    from stepcoder_trl.executor.remote.executor import RemoteExecutor

_HOME = {
    "Backend": "backend",
    "BaseBackend": "backend",
    "CodeExecutor": "local.executor",
    "ExecutorConfig": "local.config",
    "RemoteConfig": "remote.config",
    "RemoteExecutor": "remote.executor",
}

__all__ = ["Backend", "BaseBackend", "CodeExecutor", "ExecutorConfig", "RemoteConfig", "RemoteExecutor"]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
    globals()[name] = value
    return value
