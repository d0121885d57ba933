"""Fixtures: files with rows, and the folder of the public datasets."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from stepcoder_trl import CodeExecutor, ExecutorConfig


@pytest.fixture
def write_rows(tmp_path: Path) -> Callable[..., Path]:
    """Return a function that writes rows as JSON Lines and returns the path."""

    def write(*rows: Any, name: str = "rows.jsonl") -> Path:
        path = tmp_path / name
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        return path

    return write


@pytest.fixture(scope="session")
def untraced() -> Iterator[CodeExecutor]:
    """One sandbox with one worker, which records no lines, for all tests of this folder."""
    with CodeExecutor(ExecutorConfig(num_workers=1, timeout_s=10.0, trace=False)) as executor:
        yield executor


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """Return the folder of the public datasets."""
    folder = os.environ.get("STEPCODER_DATA")
    if not folder:
        pytest.skip("STEPCODER_DATA does not name the folder of the public datasets")
    return Path(folder)
