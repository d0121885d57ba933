"""Starts, the places where completions begin; completions; and the shares that are reported to the curriculum."""

from __future__ import annotations

from collections.abc import Callable, Sequence
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
    Place where one completion begins.

    Attributes:
        row (`PromptRow`): Problem.
        stage (`Stage` or `None`): Stage of the curriculum, `None` without one.
        query (`Query`): Text that the model is shown.
        number (`int`): Place in the global batch. Random masks depend on it.
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
        start (`Start`): Place where it begins.
        token_ids (`tuple[int, ...]`): Sampled tokens, without padding.
        text (`str`): Their text.
        spans (`tuple[CharSpan, ...]`): Characters of each token in `text`.
        program (`Program`): Program that is run.
    """

    start: Start
    token_ids: tuple[int, ...]
    text: str
    spans: tuple[CharSpan, ...]
    program: Program


def make_curriculum(rows: Sequence[PromptRow], config: CurriculumConfig) -> Curriculum | None:
    """
    Make the curriculum of a training set.

    Args:
        rows (`Sequence[PromptRow]`):
            Training set. A row without a solution starts from scratch.
        config ([`CurriculumConfig`]):
            Settings.

    Returns:
        [`Curriculum`] or `None`: `None` for rows that are tokens only.
    """
    if rows[0].token_ids is not None:
        return None
    return Curriculum(config, {row.task_id: (row.canonical_solution, row.starter_code) for row in rows})


def longest_query(
    row: PromptRow, curriculum: Curriculum | None, build_query: Callable[[PromptRow, str], Query]
) -> int:
    """Number of tokens of the longest query of a row, over all stages of the curriculum."""
    prefixes = {""} if curriculum is None else {stage.prefix for stage in curriculum.stages(row.task_id)}
    return max(len(build_query(row, prefix).token_ids) for prefix in prefixes)


def draw_starts(
    rows: Sequence[PromptRow],
    curriculum: Curriculum | None,
    step: int,
    build_query: Callable[[PromptRow, str], Query],
    first_number: int = 0,
) -> tuple[Start, ...]:
    """
    Draw a start for each row. All rows of one problem get the same start, on every process.

    Args:
        rows (`Sequence[PromptRow]`):
            Problem of each completion of this process.
        curriculum ([`Curriculum`] or `None`):
            Curriculum, `None` to start from scratch.
        step (`int`):
            Update, counted from 0. The draw depends on it.
        build_query (`Callable`):
            Takes a row and a prefix, which is empty from scratch, and returns the query.
        first_number (`int`, *optional*, defaults to `0`):
            Place of the first row in the global batch.

    Returns:
        `tuple[Start, ...]`: One start per row.
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
    starts: Sequence[Start], completion_ids: Sequence[Sequence[int]], tokenizer: Any
) -> tuple[Completion, ...]:
    """
    Decode sampled tokens and find the program in each completion.

    Args:
        starts (`Sequence[Start]`):
            Starts.
        completion_ids (`Sequence[Sequence[int]]`):
            Sampled tokens of each, without padding.
        tokenizer ([`~transformers.PreTrainedTokenizerBase`]):
            Tokenizer of the model.

    Returns:
        `tuple[Completion, ...]`: One completion per start.
    """
    completions = []
    for start, ids in zip(starts, completion_ids, strict=True):
        tokens = token_texts(ids, tokenizer)
        program = program_of(start.query, tokens.text)
        completions.append(Completion(start, tuple(ids), tokens.text, tokens.spans, program))
    return tuple(completions)


def has_passed(
    start: Start, execution: Execution | None, score: float | None, pass_score: float | None
) -> bool | None:
    """
    Say whether a completion counts as passing.

    Args:
        start (`Start`):
            Its start.
        execution (`Execution` or `None`):
            Its result. Decides where the problem has tests.
        score (`float` or `None`):
            Its score, `None` if nothing scored it.
        pass_score (`float` or `None`):
            Score above which a completion passes where the problem has no tests.

    Returns:
        `bool` or `None`: `None` where it was not scored, could not be run, or has neither tests nor a `pass_score`.
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
    """Task, stage and whether it passed, of each completion of this process; see [`has_passed`]."""
    return [
        (
            start.row.task_id,
            0 if start.stage is None else start.stage.stage,
            has_passed(start, execution, score, pass_score),
        )
        for start, execution, score in zip(starts, executions, scores, strict=True)
    ]


def group_shares(results: Sequence[tuple[str, int, bool | None]]) -> list[tuple[str, int, float | None]]:
    """
    Share of passing completions of each group.

    Args:
        results (`Sequence[tuple[str, int, bool | None]]`):
            Task, stage and whether it passed, of each completion of all processes. `None` means not scored.

    Returns:
        `list[tuple[str, int, float | None]]`: Task, stage and share of each group in order of appearance; the share is
        `None` when nothing of the group was scored.
    """
    groups: dict[tuple[str, int], list[bool]] = {}
    for task_id, stage, passed in results:
        group = groups.setdefault((task_id, stage), [])
        if passed is not None:
            group.append(passed)
    return [(task_id, stage, sum(group) / len(group) if group else None) for (task_id, stage), group in groups.items()]


def report_shares(curriculum: Curriculum, results: Sequence[tuple[str, int, bool | None]]) -> None:
    """
    Move the curriculum by the share of passing completions of each group.

    Args:
        curriculum ([`Curriculum`]):
            Curriculum. It is changed.
        results (`Sequence[tuple[str, int, bool | None]]`):
            Those of all processes, in the same order on each, so that all curricula stay equal.
    """
    for task_id, stage, share in group_shares(results):
        curriculum.update(task_id, stage, share)
