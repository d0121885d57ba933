"""Measurement of the stages of a curriculum: each is sampled a few times, and the counts are saved as it goes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from stepcoder_trl.curriculum import Curriculum, Stage
from stepcoder_trl.curriculum.measured import StageRate
from stepcoder_trl.steps.queries import Query
from stepcoder_trl.steps.rows import PromptRow
from stepcoder_trl.steps.starts import Start
from stepcoder_trl.types import Execution, Outcome


@dataclass(frozen=True)
class Group:
    """Stage of a problem that is sampled. `number` is its place among all groups of the measurement."""

    row: PromptRow
    stage: Stage
    number: int


BuildQuery = Callable[[PromptRow, str], Query]
# Samples each start several times, and says of each sample whether it passed, `None` if that is unknown. The second
# argument is the number of the first group: random numbers depend on it.
SampleGroups = Callable[[Sequence[Start], int], Sequence[Sequence[bool | None]]]


def groups_to_measure(rows: Sequence[PromptRow], curriculum: Curriculum) -> list[Group]:
    """
    Return what a measurement samples: each stage of each problem, from the first of training to scratch.

    A problem with one stage leaves no choice. Without tests nothing says which samples pass.
    """
    stages = [(row, curriculum.stages(row.task_id)) for row in rows if row.tests is not None]
    pairs = [(row, stage) for row, found in stages if len(found) > 1 for stage in found]
    return [Group(row, stage, number) for number, (row, stage) in enumerate(pairs)]


def groups_digest(groups: Sequence[Group], build_query: BuildQuery) -> str:
    """Return a digest that is equal for equal stages, queries and tests in the same order."""
    digest = hashlib.sha256()
    for one in groups:
        query, tests = build_query(one.row, one.stage.prefix), dict(one.row.tests or {})
        parts = (one.row.task_id, one.stage.stage, query.prefix, query.token_ids, tests)
        digest.update(json.dumps(parts, default=str).encode())
    return digest.hexdigest()


def measure_groups(
    groups: Sequence[Group],
    batch_size: int,
    build_query: BuildQuery,
    sample: SampleGroups,
    known: Sequence[StageRate] = (),
) -> Iterator[list[StageRate]]:
    """
    Measure groups in batches. Yields the counts of each batch when it is complete.

    Args:
        groups (`Sequence[Group]`): What to sample.
        batch_size (`int`): Groups that are sampled at a time.
        build_query (`Callable`): Builds the query of a problem from a prefix.
        sample (`Callable`): Samples the starts of a batch.
        known (`Sequence[StageRate]`, *optional*): Groups that were measured before, which are not sampled again.
    """
    done = {(one.task_id, one.stage) for one in known}
    missing = [one for one in groups if (one.row.task_id, one.stage.stage) not in done]
    for first in range(0, len(missing), batch_size):
        batch = missing[first : first + batch_size]
        starts = [
            Start(one.row, one.stage, build_query(one.row, one.stage.prefix), number)
            for number, one in enumerate(batch)
        ]
        results = sample(starts, batch[0].number)
        yield [_count(group, passes) for group, passes in zip(batch, results, strict=True)]


def _count(group: Group, passes: Sequence[bool | None]) -> StageRate:
    judged = [one for one in passes if one is not None]
    return StageRate(group.row.task_id, group.stage.stage, sum(judged), len(judged))


def passes_of(executions: Sequence[Execution | None]) -> list[bool | None]:
    """Say of each program whether it passed its tests, `None` if the sandbox failed to run it."""
    return [None if one is None else one.outcome is Outcome.PASSED for one in executions]


def split_groups(passes: Sequence[bool | None], size: int) -> list[list[bool | None]]:
    """Split the results of samples into groups of `size`, which stand together."""
    return [list(passes[first : first + size]) for first in range(0, len(passes), size)]
