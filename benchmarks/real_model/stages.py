"""
Samples of each stage of real problems, without training.

Each problem is sampled from every stage of its curriculum, and the programs are run. The file has a line for each
problem, so that a measurement that was stopped goes on.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks.real_model.problems import Task
from benchmarks.real_model.samplers import Sampler
from benchmarks.real_model.sitting import in_time
from stepcoder_trl.curriculum import Stage
from stepcoder_trl.evaluation.generation import Generation
from stepcoder_trl.evaluation.sampling import split_batches
from stepcoder_trl.executor import Backend
from stepcoder_trl.jsonl import whole_rows, write_rows
from stepcoder_trl.masking import MaskRule
from stepcoder_trl.rewards import mean_test_score
from stepcoder_trl.steps.masks import loss_masks
from stepcoder_trl.steps.solutions import check_solutions, use_solutions
from stepcoder_trl.steps.starts import Completion, Start, read_completions
from stepcoder_trl.types import Execution


Row = dict[str, Any]


class SampleFile:
    """
    File of samples. The first line has the settings, and each other line a problem.

        {"settings": {"samples": 4, ...}}
        {"set": "MBPP", "task_id": "MBPP/601", "stages": [{"stage": 1, "outcomes": ["passed", "failed"], ...}, ...]}

    Args:
        path (`Path`): File. It need not exist.
        settings (`Mapping`): Settings of the measurement. A file with others is refused.
    """

    def __init__(self, path: Path, settings: Mapping[str, Any]) -> None:
        self.path, self._header = path, {"settings": json.loads(json.dumps(settings))}
        rows = whole_rows(path) if path.is_file() else [self._header]
        if rows[:1] != [self._header]:
            raise SystemExit(f"{path} holds a measurement with other settings. Move it away, or name another file.")
        self.rows: list[Row] = rows[1:]

    def add(self, rows: Sequence[Row]) -> None:
        """Write more problems. The file is never seen half-written."""
        self.rows += rows
        self.path.parent.mkdir(parents=True, exist_ok=True)
        write_rows(self.path, [self._header, *self.rows])


@dataclass(frozen=True)
class Drawn:
    """Samples of some stages, those of a stage together. A program that could not be run has no execution."""

    generation: Generation
    completions: Sequence[Completion]
    executions: Sequence[Execution | None]


@dataclass(frozen=True)
class Measurement:
    """
    What samples the stages, and judges the samples.

    Attributes:
        sample (`Callable`): Samples queries.
        tokenizer (tokenizer): Tokenizer of the model.
        eos_token_ids (`Sequence[int]`): EOS tokens, which have no text.
        executor (`Backend`): Runs the programs.
        samples (`int`): Samples of each stage.
        scratch_only (`bool`): Whether to leave the other stages out.
    """

    sample: Sampler
    tokenizer: Any
    eos_token_ids: Sequence[int]
    executor: Backend
    samples: int
    scratch_only: bool = False

    def measure(self, tasks: Sequence[Task], number: int) -> list[Row]:
        """
        Sample the stages of some problems at the same time. `number` is the seed.

        Problems whose solution fails its tests are not sampled: their curriculum would be cut from a wrong program.
        """
        rows = [task.row for task in tasks]
        report = check_solutions(rows, self.executor)
        tasks = [replace(task, row=row) for task, row in zip(tasks, use_solutions(rows, report), strict=True)]
        sound = [task for task in tasks if task.row.task_id not in report.failing]
        found = iter(self._sampled(sound, number)) if sound else iter(())
        return [
            {"set": task.set_name, "task_id": task.row.task_id, "failing": str(report.failing[task.row.task_id])}
            if task.row.task_id in report.failing
            else {"set": task.set_name, "task_id": task.row.task_id, "stages": next(found)}
            for task in tasks
        ]

    def _sampled(self, tasks: Sequence[Task], number: int) -> Iterator[list[Row]]:
        """Yield the samples of all stages of each problem."""
        stages = [task.stages[-1:] if self.scratch_only else task.stages for task in tasks]
        drawn = self.draw([(task, stage) for task, some in zip(tasks, stages, strict=True) for stage in some], number)
        masks = loss_masks(drawn.completions, drawn.executions, MaskRule(), step=0)
        judged = zip(drawn.completions, drawn.executions, masks, drawn.generation.stopped.tolist(), strict=True)
        groups = iter(split_batches(list(judged), self.samples))
        for some in stages:
            yield [_stage_row(next(groups)) for _ in some]

    def draw(self, places: Sequence[tuple[Task, Stage]], number: int) -> Drawn:
        """Sample each stage of a problem `samples` times, and run the programs. `number` is the seed."""
        queries = [task.query(stage, self.tokenizer) for task, stage in places]
        starts = [
            Start(task.row, stage, query, place)
            for place, ((task, stage), query) in enumerate(zip(places, queries, strict=True))
            for _ in range(self.samples)
        ]
        generation = self.sample([start.query for start in starts], number)
        completions = read_completions(starts, generation.completion_ids(), self.tokenizer, self.eos_token_ids)
        programs = [one.program.text for one in completions]
        runs = self.executor.run_many(programs, [start.row.tests or {} for start in starts], on_error="return")
        return Drawn(generation, completions, [run if isinstance(run, Execution) else None for run in runs])


def _stage_row(group: Sequence[tuple[Completion, Execution | None, list[bool], bool]]) -> Row:
    """Return the samples of a stage, a list for each figure. A sample that could not be run has no outcome."""
    stage = group[0][0].start.stage
    assert stage is not None
    return {
        "stage": stage.stage,
        "line": stage.line,
        "outcomes": [None if run is None else str(run.outcome) for _, run, _, _ in group],
        "mean_scores": [None if run is None else round(mean_test_score(run), 4) for _, run, _, _ in group],
        "tokens": [len(mask) for _, _, mask, _ in group],
        "kept": [sum(mask) for _, _, mask, _ in group],
        "ended": [ended for _, _, _, ended in group],
    }


def measure_all(
    tasks: Sequence[Task], file: SampleFile, measurement: Measurement, batch_size: int, seconds: float
) -> Iterator[list[Row]]:
    """
    Measure the problems that the file does not have, in order, and write each batch. Yields the batches.

    Args:
        tasks (`Sequence[Task]`): All problems.
        file ([`SampleFile`]): File of the samples.
        measurement ([`Measurement`]): What samples and judges.
        batch_size (`int`): Problems at a time.
        seconds (`float`): Time of this sitting, see [`in_time`].
    """
    known = {row["task_id"] for row in file.rows}
    numbered = [(number, task) for number, task in enumerate(tasks) if task.row.task_id not in known]
    for batch in in_time(split_batches(numbered, batch_size), seconds):
        rows = measurement.measure([task for _, task in batch], batch[0][0])
        file.add(rows)
        yield rows
