"""Files that several processes share, and locks that are released when their holder ends."""

from __future__ import annotations

import fcntl
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from stepcoder_trl import jsonl


def write_json(path: Path, value: Any) -> None:
    """Write a JSON file, in a folder that is made if it is not there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    jsonl.write_json(path, value, indent=1)


def read_reported(path: Path) -> dict[str, Any]:
    """Read the results of an earlier report. A missing file gives an empty dict, another file ends the program."""
    if not path.exists():
        return {}
    try:
        reported = json.loads(path.read_text())
    except ValueError as error:
        raise SystemExit(f"{path} is not JSON ({error}). Move it away.") from None
    if not isinstance(reported, dict):
        raise SystemExit(f"{path} was not written by this benchmark. Move it away.")
    return reported


@contextmanager
def locked(target: Path, wait: bool = True) -> Iterator[int | None]:
    """
    Hold the lock of a path, which is a file next to it.

    Yields its descriptor, or `None` if another process holds it and `wait` is `False`. A child that inherits the
    descriptor holds the lock as well.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    with open(f"{target}.lock", "w") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            yield None
        else:
            yield stream.fileno()


def compute_once(path: Path, compute: Callable[[], Any]) -> None:
    """Write the result of a computation to a file, unless the file exists or another process computes it."""
    with locked(path, wait=False) as lock:
        if lock is not None and not path.exists():
            write_json(path, compute())
