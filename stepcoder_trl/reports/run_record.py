"""
Record of a run's rollouts, from which its page is made: the folder `record/` of a run directory.

    record/updates.jsonl    problems at each stage, and groups by result, at up to 40 updates
    record/rollouts.jsonl   up to 8 completions of each of these updates
"""

from __future__ import annotations

import json
import math
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stepcoder_trl.jsonl import whole_rows, write_text
from stepcoder_trl.reports.rollouts import RolloutView, choose_rollouts, read_rollout, rollout_row


FOLDER, UPDATES, ROLLOUTS = "record", "updates.jsonl", "rollouts.jsonl"
MOST_UPDATES, MOST_ROLLOUTS = 40, 8  # recorded updates of a run, and rollouts of an update


@dataclass(frozen=True)
class UpdateRecord:
    """Curriculum and groups of one update."""

    update: int  # counts from 1
    stages: Mapping[int, int]  # number of problems by stage; 0 is scratch
    groups: Mapping[str, int]  # number of groups by result: `all`, `some` or `none` of its programs passed


@dataclass(frozen=True)
class RunRecord:
    """What was recorded of a run, in order."""

    updates: Sequence[UpdateRecord] = ()
    rollouts: Sequence[tuple[int, RolloutView]] = ()  # each with its update


class RunRecorder:
    """Writes the record of a run. One process does this: its completions are a fair sample of all."""

    def __init__(self, output_dir: str | os.PathLike[str]) -> None:
        self.folder = Path(output_dir) / FOLDER
        self.num_updates = 0

    def begin(self, update: int, num_updates: int) -> None:
        """Begin a run of `num_updates`, of which `update` are done. What was recorded of later ones is removed."""
        self.num_updates = num_updates
        for name in (UPDATES, ROLLOUTS):
            path = self.folder / name
            kept = [row for row in whole_rows(path) if isinstance(row.get("update"), int) and row["update"] <= update]
            if kept:
                write_text(path, "".join(json.dumps(row) + "\n" for row in kept))
            else:
                path.unlink(missing_ok=True)

    def is_due(self, update: int) -> bool:
        """Say whether an update is recorded: the first, the last, and evenly spaced ones between them."""
        return update in (1, self.num_updates) or update % max(1, math.ceil(self.num_updates / MOST_UPDATES)) == 0

    def add(self, update: int, views: Sequence[RolloutView], stages: Iterable[int]) -> None:
        """Record the completions of an update, and the stages of all problems."""
        self.folder.mkdir(parents=True, exist_ok=True)
        counts = {str(stage): number for stage, number in sorted(Counter(stages).items())}
        _append(self.folder / UPDATES, [{"update": update, "stages": counts, "groups": group_results(views)}])
        chosen = choose_rollouts(views, MOST_ROLLOUTS)
        _append(self.folder / ROLLOUTS, [rollout_row(update, view) for view in chosen])


def group_results(views: Sequence[RolloutView]) -> dict[str, int]:
    """Return the number of groups in which all, some or none of the programs passed. Programs not run do not count."""
    groups: dict[tuple[str, int | None], list[bool]] = {}
    for view in views:
        if view.outcome is not None:
            groups.setdefault((view.task_id, view.stage), []).append(view.outcome == "passed")
    names = ("all" if all(passed) else "some" if any(passed) else "none" for passed in groups.values())
    counts = Counter(names)
    return {name: counts[name] for name in ("all", "some", "none")}


def read_record(output_dir: str | os.PathLike[str]) -> RunRecord:
    """Read the record of a run. It is empty if there is none. Damaged rows are left out."""
    folder = Path(output_dir) / FOLDER
    updates, rollouts = [], []
    for row in whole_rows(folder / UPDATES):
        try:
            stages = {int(stage): int(number) for stage, number in row["stages"].items()}
            groups = {str(name): int(number) for name, number in row["groups"].items()}
            updates.append(UpdateRecord(int(row["update"]), stages, groups))
        except (KeyError, TypeError, ValueError, AttributeError):
            continue
    for row in whole_rows(folder / ROLLOUTS):
        try:
            rollouts.append((int(row["update"]), read_rollout(row)))
        except (KeyError, TypeError, ValueError, AttributeError, IndexError):
            continue
    return RunRecord(updates, rollouts)


def _append(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    with open(path, "a", encoding="utf-8") as stream:
        stream.write("".join(json.dumps(row) + "\n" for row in rows))
