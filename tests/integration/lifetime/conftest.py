"""Executors, scripts, and a check that nothing is left behind."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from stepcoder_trl import CodeExecutor, ExecutorConfig
from tests.integration.lifetime.script import Script
from tests.processes import descendants, kill, soon


@pytest.fixture
def executor() -> Iterator[CodeExecutor]:
    with CodeExecutor(ExecutorConfig(num_workers=2)) as executor:
        yield executor


@pytest.fixture
def nothing_left() -> Iterator[None]:
    before = descendants()
    descriptors = len(os.listdir("/proc/self/fd"))
    yield
    gc.collect()
    assert soon(lambda: descendants() == before), (before, descendants())
    assert len(os.listdir("/proc/self/fd")) <= descriptors


@pytest.fixture
def script(tmp_path: Path) -> Iterator[Any]:
    started: list[Script] = []

    def start(text: str, *options: str) -> Script:
        started.append(Script(tmp_path, text, *options))
        return started[-1]

    yield start
    for one in started:
        kill(one.process.pid)
        one.process.communicate()
