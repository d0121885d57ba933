"""Run directory of the quickstart: files, learning curves and the console."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from stepcoder_trl.errors import BadInputError


class RunDirectory:
    """Folder of one run, its learning curves, and the console that shows its progress."""

    def __init__(self, path: str, console: Console) -> None:
        self.path = new_run_directory(path)
        self.console = console
        self.pass_rates: dict[str, list[tuple[float, float]]] = {}  # (update, pass@1) of each set of problems
        self.passing: list[tuple[float, float]] = []  # (update, share of completions that pass) in training

    def print_heading(self, title: str) -> None:
        """Print the heading of a section."""
        self.console.print()
        self.console.rule(f"[bold]{title}", align="left")

    def add_point(self, phase: str, **values: Any) -> None:
        """Append a point to `curves.jsonl`."""
        with open(self.path / "curves.jsonl", "a", encoding="utf-8") as stream:
            stream.write(json.dumps({"phase": phase, **values}) + "\n")

    @contextmanager
    def progress(self, description: str, total: int) -> Iterator[Any]:
        """Show a progress bar; yields a function that advances it by one and sets the text beside it."""
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, TextColumn("{task.fields[state]}"), console=self.console) as bar:
            task = bar.add_task(description, total=total, state="")
            yield lambda state: bar.update(task, advance=1, state=state)


def new_run_directory(path: str) -> Path:
    """Make the run directory. It must not exist, or be empty, because a run is never overwritten."""
    directory = Path(path)
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise BadInputError(f"`--out` is {path!r}, which exists already. Choose another directory or remove it.")
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadInputError(f"`--out` {path!r} cannot be made ({error.strerror}). Choose another directory.") from None
    return directory
