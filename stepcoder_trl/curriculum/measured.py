"""
Start at the measured stage: where the samples of a problem tell most, before the first update.

Groups of samples carry a signal where some pass and some do not. The variance of a pass is `p (1 - p)`, which is
largest at `p = 1/2`. So each stage of a problem is sampled a few times, and the problem starts at the stage whose pass
rate is nearest to one half. Scratch is a stage like any other. Not in the paper.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path
from typing import Literal

from stepcoder_trl.jsonl import whole_rows, write_rows


CurriculumStart = Literal["first", "measured"]

MEASUREMENT_FILE = "stage_measurement.jsonl"  # in the directory of a run
_VERSION = 1
_HALF = Fraction(1, 2)


@dataclass(frozen=True)
class StageRate:
    """
    Samples of one stage of a problem.

    Attributes:
        task_id (`str`): Problem.
        stage (`int`): Stage. 0 is from scratch.
        passed (`int`): Number of samples that passed.
        scored (`int`): Number of samples that were judged. The sandbox may have failed to run others.
    """

    task_id: str
    stage: int
    passed: int
    scored: int

    @property
    def rate(self) -> Fraction | None:
        """Share of the judged samples that passed. `None` if none was judged."""
        return Fraction(self.passed, self.scored) if self.scored else None


def best_start(rates: Iterable[StageRate]) -> int | None:
    """
    Return the stage of a problem whose pass rate is nearest to one half.

    Of stages that are equally near, the one that passes more often is taken. Of equal rates below one half, the stage
    that shows most of the solution is taken, as nothing else helps. Of equal rates from one half on, it is the stage
    that shows least, as the model needs no more. So a problem that never passes starts at its first stage, and one
    that always passes starts from scratch.

    Args:
        rates (`Iterable[StageRate]`): Samples of the stages of one problem. Stages without a judged sample are
            ignored.

    Returns:
        `int` or `None`: Number of the stage. `None` if no sample was judged.
    """
    found = [(one.rate, one.stage) for one in rates if one.rate is not None]
    if not found:
        return None

    def preference(candidate: tuple[Fraction, int]) -> tuple[Fraction, Fraction, int]:
        rate, stage = candidate
        return abs(rate - _HALF), -rate, -stage if rate < _HALF else stage

    return min(found, key=preference)[1]


def by_problem(rates: Iterable[StageRate]) -> dict[str, list[StageRate]]:
    """Return the samples of each problem, from its first stage to scratch."""
    problems: dict[str, list[StageRate]] = {}
    for one in rates:
        problems.setdefault(one.task_id, []).append(one)
    return {task_id: sorted(stages, key=lambda one: -one.stage) for task_id, stages in problems.items()}


def best_starts(rates: Iterable[StageRate]) -> dict[str, int]:
    """Return the start of each problem, as [`best_start`]. A problem without a judged sample is left out."""
    starts = {task_id: best_start(stages) for task_id, stages in by_problem(rates).items()}
    return {task_id: stage for task_id, stage in starts.items() if stage is not None}


@dataclass(frozen=True)
class StageSummary:
    """
    Problems that have a stage, by the pass rate of their samples there.

    Attributes:
        stage (`int`): Stage. 0 is from scratch.
        problems (`int`): Number of problems with a judged sample there.
        mean_rate (`float`): Mean of their pass rates.
        none, below_half, from_half, all (`int`): Problems of which no sample passed, less than half of the samples, at
            least half, and all.
        starts (`int`): Problems that start there.
    """

    stage: int
    problems: int
    mean_rate: float
    none: int
    below_half: int
    from_half: int
    all: int
    starts: int


def summarize_stages(rates: Sequence[StageRate]) -> list[StageSummary]:
    """Return a summary of each stage, from the highest to scratch. Stages without a judged sample are left out."""
    starts = list(best_starts(rates).values())
    summaries = []
    for stage in sorted({one.stage for one in rates if one.scored}, reverse=True):
        found = [one.rate for one in rates if one.stage == stage and one.rate is not None]
        summary = StageSummary(
            stage=stage,
            problems=len(found),
            mean_rate=float(sum(found) / len(found)),
            none=sum(rate == 0 for rate in found),
            below_half=sum(0 < rate < _HALF for rate in found),
            from_half=sum(_HALF <= rate < 1 for rate in found),
            all=sum(rate == 1 for rate in found),
            starts=starts.count(stage),
        )
        summaries.append(summary)
    return summaries


SUMMARY_HEADER = (
    "stage",
    "problems",
    "pass rate",
    "none pass",
    "below half",
    "half or more",
    "all pass",
    "start here",
)


def summary_cells(summary: StageSummary) -> list[str]:
    """Return the cells of a summary in the order of `SUMMARY_HEADER`."""
    counts = (summary.none, summary.below_half, summary.from_half, summary.all, summary.starts)
    name = "scratch" if summary.stage == 0 else str(summary.stage)
    return [name, str(summary.problems), f"{summary.mean_rate:.3f}", *map(str, counts)]


class MeasurementFile:
    """
    File of a measurement, which is written as the measurement goes on.

    The first line says what was measured, and each other line is a [`StageRate`]:

        {"version": 1, "identity": {"model": "5f...", "samples": 4, ...}}
        {"task_id": "count", "stage": 1, "passed": 3, "scored": 4}

    Args:
        path (`str` or path): File. It need not exist.
        identity (`Mapping`): Model, problems and settings, as values that JSON can hold. A file with another identity
            holds another measurement.
    """

    def __init__(self, path: str | os.PathLike[str], identity: Mapping[str, object]) -> None:
        self.path = Path(path)
        self._header = json.loads(json.dumps({"version": _VERSION, "identity": dict(identity)}, default=str))

    def read(self) -> list[StageRate]:
        """
        Return the stages that were measured. It is empty for no file, and for one of another measurement.

        A stage without a judged sample is left out: the sandbox had failed, and the stage has to be measured again.
        """
        header, rates = _read(self.path)
        return [one for one in rates if one.scored] if header == self._header else []

    def write(self, rates: Iterable[StageRate]) -> None:
        """Write all stages that were measured. The file is never seen half-written."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        write_rows(self.path, [self._header, *map(asdict, rates)])


def is_measurement(path: str | os.PathLike[str]) -> bool:
    """Return whether a file holds a measurement."""
    return bool(_read(Path(path))[0])


def read_measurement(path: str | os.PathLike[str]) -> list[StageRate]:
    """Return the stages in the file of any measurement. It is empty for no file, or one of another kind."""
    return _read(Path(path))[1]


def _read(path: Path) -> tuple[dict[str, object], list[StageRate]]:
    """Return the first line and the stages of a file. Both are empty if it is no file of this version."""
    rows = whole_rows(path) if path.is_file() else []
    if not rows or rows[0].get("version") != _VERSION or "identity" not in rows[0]:
        return {}, []
    try:
        return rows[0], [StageRate(**row) for row in rows[1:]]
    except TypeError:
        return {}, []
