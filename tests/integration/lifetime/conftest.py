"""Executors, scripts, and a check that nothing is left behind."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from stepcoder_trl import CodeExecutor, ExecutorConfig
from stepcoder_trl.executor.selftest.leftovers import descendants
from tests.integration.lifetime.script import IMPORTS, Script
from tests.processes import kill, soon


@pytest.fixture
def executor() -> Iterator[CodeExecutor]:
    """Executor of its own for each test."""
    with CodeExecutor(ExecutorConfig(num_workers=2)) as executor:
        yield executor


@pytest.fixture
def nothing_left() -> Iterator[None]:
    """Check that a test leaves no process and no descriptor."""
    before = descendants()
    descriptors = len(os.listdir("/proc/self/fd"))
    yield
    gc.collect()
    assert soon(lambda: descendants() == before), (before, descendants())
    assert len(os.listdir("/proc/self/fd")) <= descriptors


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Any]:
    """Start Python with arguments, in a process that is killed after the test."""
    started: list[Script] = []

    def start(*arguments: str, text: str = "") -> Script:
        started.append(Script(tmp_path, *arguments, text=text))
        return started[-1]

    yield start
    for script in started:
        kill(script.process.pid)
        script.process.communicate()


@pytest.fixture
def script(start: Any) -> Any:
    """Start a script that is given as text."""
    return lambda text: start("-c", IMPORTS + text)


@pytest.fixture
def module(start: Any) -> Any:
    """Start a script of this folder by its name, with arguments."""
    return lambda name, *arguments: start("-m", f"tests.integration.lifetime.{name}", *arguments)
