"""Starts of completions, completions, and the pass rates that are reported to the curriculum."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from stepcoder_trl.curriculum import Curriculum, CurriculumConfig, Stage
from stepcoder_trl.steps.queries import Query, program_of
from stepcoder_trl.steps.rows import PromptRow
from stepcoder_trl.tokens import token_texts
from stepcoder_trl.types import CharSpan, Execution, Outcome, Program


@dataclass(frozen=True)
class Start:
    """
    Start of one completion.

    Attributes:
        row (`PromptRow`): Problem.
        stage (`Stage` or `None`): Stage of the curriculum. `None` without a curriculum.
        query (`Query`): Text that the model continues.
        number (`int`): Index in the global batch. Random masks depend on it.
    """

    row: PromptRow
    stage: Stage | None
    query: Query
    number: int


@dataclass(frozen=True)
class Completion:
    """
    One sampled completion.

    Attributes:
        start (`Start`): Start of the completion.
        token_ids (`tuple[int, ...]`): Sampled tokens, without padding.
        text (`str`): Decoded tokens.
        spans (`tuple[CharSpan, ...]`): Characters of each token in `text`.
        program (`Program`): Program that is run.
    """

    start: Start
    token_ids: tuple[int, ...]
    text: str
    spans: tuple[CharSpan, ...]
    program: Program


def make_curriculum(rows: Sequence[PromptRow], config: CurriculumConfig) -> Curriculum | None:
    """Make the curriculum of a training set. `None` for rows with `input_ids` only."""
    if rows[0].token_ids is not None:
        return None
    return Curriculum(config, {row.task_id: (row.canonical_solution, row.starter_code) for row in rows})


def longest_query(
    row: PromptRow, curriculum: Curriculum | None, build_query: Callable[[PromptRow, str], Query]
) -> int:
    """Return the number of tokens of a row's longest query, over all stages of the curriculum."""
    return max(len(query.token_ids) for query in all_queries(row, curriculum, build_query))


def all_queries(
    row: PromptRow, curriculum: Curriculum | None, build_query: Callable[[PromptRow, str], Query]
) -> Iterator[Query]:
    """Yield the queries of a row at all stages of the curriculum."""
    prefixes = {""} if curriculum is None else {stage.prefix for stage in curriculum.stages(row.task_id)}
    for prefix in prefixes:
        yield build_query(row, prefix)


def draw_starts(
    rows: Sequence[PromptRow],
    curriculum: Curriculum | None,
    step: int,
    build_query: Callable[[PromptRow, str], Query],
    first_number: int = 0,
) -> tuple[Start, ...]:
    """
    Draw a start for each row. All rows of one problem get the same start, on every process.

    The start depends on the update `step`. `first_number` is the index of the first row in the global batch.
    """
    queries: dict[str, Query] = {}
    starts = []
    for number, row in enumerate(rows, first_number):
        stage = None if curriculum is None else curriculum.draw(row.task_id, step)
        if row.task_id not in queries:
            queries[row.task_id] = build_query(row, "" if stage is None else stage.prefix)
        starts.append(Start(row, stage, queries[row.task_id], number))
    return tuple(starts)


def read_completions(
    starts: Sequence[Start],
    completion_ids: Sequence[Sequence[int]],
    tokenizer: Any,
    eos_token_ids: Collection[int] = (),
) -> tuple[Completion, ...]:
    """Decode the sampled tokens of each start, without padding, and extract the program. EOS tokens have no text."""
    completions = []
    for start, ids in zip(starts, completion_ids, strict=True):
        tokens = token_texts(ids, tokenizer, eos_token_ids)
        program = program_of(start.query, tokens.text)
        completions.append(Completion(start, tuple(ids), tokens.text, tokens.spans, program))
    return tuple(completions)


def has_passed(
    start: Start, execution: Execution | None, score: float | None, pass_score: float | None
) -> bool | None:
    """
    Say whether a completion passes: its tests, or without tests a score above `pass_score`.

    `None` if it has no score, the sandbox failed to run it, or there are neither tests nor a `pass_score`.
    """
    if score is None:
        return None
    if start.row.tests is not None:
        return None if execution is None else execution.outcome is Outcome.PASSED
    return None if pass_score is None else score > pass_score


def stage_results(
    starts: Sequence[Start],
    executions: Sequence[Execution | None],
    scores: Sequence[float | None],
    pass_score: float | None,
) -> list[tuple[str, int, bool | None]]:
    """Return task, stage and [`has_passed`] of each completion of this process."""
    return [
        (
            start.row.task_id,
            0 if start.stage is None else start.stage.stage,
            has_passed(start, execution, score, pass_score),
        )
        for start, execution, score in zip(starts, executions, scores, strict=True)
    ]


def group_shares(results: Sequence[tuple[str, int, bool | None]]) -> list[tuple[str, int, float | None]]:
    """Return the share of passing completions of each task and stage, in order. `None` if no completion was scored."""
    groups: dict[tuple[str, int], list[bool]] = {}
    for task_id, stage, passed in results:
        group = groups.setdefault((task_id, stage), [])
        if passed is not None:
            group.append(passed)
    return [(task_id, stage, sum(group) / len(group) if group else None) for (task_id, stage), group in groups.items()]


def report_shares(curriculum: Curriculum, results: Sequence[tuple[str, int, bool | None]]) -> None:
    """Update the curriculum with the results of all processes, which must be in the same order on each process."""
    for task_id, stage, share in group_shares(results):
        curriculum.update(task_id, stage, share)
