"""Executor for the tests of programs."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from stepcoder_trl import CodeExecutor, ExecutorConfig


@pytest.fixture(scope="session")
def fast_executor() -> Iterator[CodeExecutor]:
    """Executor with two workers and a limit of one second per test."""
    with CodeExecutor(ExecutorConfig(num_workers=2, timeout_s=1.0)) as executor:
        yield executor
