"""An executor for the tests of one module."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from stepcoder_trl import CodeExecutor, ExecutorConfig


@pytest.fixture(scope="module")
def executor() -> Iterator[CodeExecutor]:
    with CodeExecutor(ExecutorConfig(num_workers=1, timeout_s=1.0)) as executor:
        yield executor
