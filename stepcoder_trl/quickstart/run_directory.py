"""Run directory of the quickstart: files, learning curves and the console."""

from __future__ import annotations

import itertools
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
        if not path:
            raise BadInputError("`--out` is empty. Name a folder.")
        self.path = new_run_directory(path)
        self.console = console
        if self.path != Path(path):
            console.print(f"{path} holds a run already: this one goes to {self.path}.", markup=False)
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
        """
        Show a progress bar; yields a function that advances it by one and sets the text beside it.

        Outside a terminal it prints a line at each tenth.
        """
        if not self.console.is_terminal:
            done = itertools.count(1)
            yield lambda state: self._print_tenth(description, next(done), total, state)
            return
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, TextColumn("{task.fields[state]}"), console=self.console) as bar:
            task = bar.add_task(description, total=total, state="")
            yield lambda state: bar.update(task, advance=1, state=state)

    def _print_tenth(self, description: str, done: int, total: int, state: str) -> None:
        if done * 10 // total > (done - 1) * 10 // total:
            self.console.print(f"{description} {done} of {total}: {state}", markup=False)


def new_run_directory(path: str) -> Path:
    """
    Make the run directory. A run is never overwritten: where one is already, finished or not, a number is added.

    Raises:
        BadInputError: If there is a file in its place, or it cannot be made.
    """
    first = Path(path)
    numbered = (first.with_name(f"{first.resolve().name}-{number}") for number in itertools.count(2))
    directory = next(one for one in itertools.chain([first], numbered) if not _is_used(one))
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadInputError(f"`--out` {path!r} cannot be made ({error.strerror}). Choose another directory.") from None
    return directory


def _is_used(path: Path) -> bool:
    """Whether a directory holds anything. A file is left to the error of making the directory."""
    return path.is_dir() and any(path.iterdir())
