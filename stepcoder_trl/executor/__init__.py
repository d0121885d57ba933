"""Sandbox: runs untrusted programs under unit tests and says what became of them and which lines ran."""

from stepcoder_trl.executor.pool import CodeExecutor, ExecutorConfig


__all__ = ["CodeExecutor", "ExecutorConfig"]
