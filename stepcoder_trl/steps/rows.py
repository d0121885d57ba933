"""Rows of a training or evaluation set."""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Callable, Mapping, Sequence, Sized
from dataclasses import dataclass, field, replace
from typing import Any

from stepcoder_trl.data.formats import load_problems
from stepcoder_trl.data.problems import Problem
from stepcoder_trl.errors import BadInputError
from stepcoder_trl.executor.verdict.schema import Tests
from stepcoder_trl.jsonl import shown
from stepcoder_trl.steps.queries import Prompt


logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class PromptRow:
    """
    One row of a training or evaluation set.

    Attributes:
        task_id (`str`): Unique name.
        prompt (`str` or chat messages): Requirement.
        starter_code (`str`): Code that the answer begins with.
        canonical_solution (`str`): Reference program. Without one the problem has no curriculum.
        tests (`Tests` or `None`): Tests. `None` if only reward functions or a reward model score the row.
        columns (`Mapping[str, Any]`): All columns of the row, for reward functions.
        token_ids (`tuple[int, ...]` or `None`): `input_ids` of a row without prompt, as in upstream's datasets.
    """

    task_id: str
    prompt: Prompt
    starter_code: str = ""
    canonical_solution: str = ""
    tests: Tests | None = None
    columns: Mapping[str, Any] = field(default_factory=dict)
    token_ids: tuple[int, ...] | None = None


def read_dataset(dataset: Any, name: str = "train_dataset") -> Any:
    """
    Return a dataset as a sequence of rows. Files and sets of the Hub are loaded, and an iterator is read once.

    Args:
        dataset:
            Sequence of rows; source of [`load_problems`], such as a path or `owner/name:split`; list of sources; or
            iterable that is read to its end.
        name (`str`, *optional*, defaults to `"train_dataset"`):
            Name of the argument in errors.

    Raises:
        BadInputError: If it is missing or has no rows, is several splits, or a source cannot be loaded.
    """
    fix = "Pass problems with tests, or rows with `input_ids`."
    if dataset is None:
        raise BadInputError(f"`{name}` is missing. {fix}")
    if isinstance(dataset, (str, os.PathLike)):
        dataset = [dataset]
    if isinstance(dataset, Mapping):
        raise BadInputError(f"`{name}` has the splits {sorted(map(str, dataset))}. Pass one of them.")
    rows = dataset if isinstance(dataset, Sized) else list(dataset)
    if len(rows) == 0:
        raise BadInputError(f"`{name}` has no rows. {fix}")
    if isinstance(rows, (list, tuple)) and all(isinstance(row, (str, os.PathLike)) for row in rows):
        return load_problems(rows)
    return rows


def named_sets(dataset: Any) -> Mapping[str, Any]:
    """
    Return the sets of an `eval_dataset` by name. A single set has the name `""`.

    Raises:
        BadInputError: If there are no sets, or a set has no name.
    """
    if not isinstance(dataset, Mapping):
        return {"": dataset}
    if not dataset:
        raise BadInputError("`eval_dataset` has no sets. Pass problems with tests, or leave it out.")
    for name in dataset:
        if not (isinstance(name, str) and name):
            raise BadInputError(
                f"`eval_dataset` has a set with the name {name!r}, but a name must be text. Write it such as "
                "{'hard': problems}."
            )
    return dataset


def as_rows(dataset: Any, name: str = "train_dataset") -> list[PromptRow]:
    """
    Read a dataset of problems, or of rows with `input_ids`. Errors call it `name`.

    Raises:
        BadInputError: If a row has no prompt or bad tests, a `task_id` occurs twice, or both kinds of rows are mixed.
    """
    rows = [_as_row(row, number, name) for number, row in enumerate(dataset)]
    seen: dict[str, int] = {}
    for number, row in enumerate(rows):
        if (first := seen.setdefault(row.task_id, number)) != number:
            raise BadInputError(
                f"Rows {first} and {number} of `{name}` have the same `task_id` {row.task_id!r}. "
                "Give each problem its own."
            )
    if len({row.token_ids is None for row in rows}) == 2:
        raise BadInputError(f"Some rows of `{name}` have a `prompt`, others only `input_ids`. Use one kind.")
    return rows


def _as_row(row: Any, number: int, name: str = "train_dataset") -> PromptRow:
    where = f"{name}[{number}]"
    if not isinstance(row, (Problem, Mapping)):
        raise BadInputError(
            f"{where} is {shown(row)}, but must be an object with columns. Of a table of pandas pass "
            '`table.to_dict("records")`.'
        )
    columns = dict(row.to_row() if isinstance(row, Problem) else row)
    if "prompt" not in columns and "input_ids" in columns:
        return PromptRow(str(number), "", columns=columns, token_ids=tuple(int(i) for i in columns["input_ids"]))
    if "prompt" not in columns:
        raise BadInputError(
            f"{where} has the columns {sorted(columns)}, but neither `prompt` nor `input_ids`. Rows of problems have "
            "task_id, prompt, starter_code, canonical_solution and tests."
        )
    if not isinstance(row, Problem) and columns.get("tests") is None:
        starter_code, solution = columns.get("starter_code") or "", columns.get("canonical_solution") or ""
        task_id = str(columns.get("task_id", number))
        return PromptRow(task_id, columns["prompt"], starter_code, solution, columns=columns)
    problem = row if isinstance(row, Problem) else Problem.from_row(columns, where=where)
    task_id, tests = problem.task_id, problem.parsed_tests
    return PromptRow(task_id, problem.prompt, problem.starter_code, problem.canonical_solution, tests, columns)


def dataset_digest(rows: Sequence[PromptRow]) -> str:
    """Return a digest that is equal for the same problems in the same order."""
    digest = hashlib.sha256()
    for row in rows:
        tests = None if row.tests is None else dict(row.tests)
        parts = (row.task_id, row.prompt, row.starter_code, row.canonical_solution, tests, row.token_ids)
        digest.update(json.dumps(parts, default=str).encode())
    return digest.hexdigest()


def keep_rows(rows: Sequence[Mapping[str, Any]]) -> Sequence[Mapping[str, Any]]:
    """Data collator that does not change the rows."""
    return rows


def collate(rows: Sequence[PromptRow], collator: Callable[..., Any], pad: int | None) -> list[PromptRow]:
    """
    Pass rows through a data collator.

    The collator takes the rows as dictionaries. It returns such rows, or padded `input_ids` as upstream's collator.
    `pad` marks padding if it returns no `attention_mask`.
    """
    if collator is keep_rows:
        return list(rows)
    batch = collator([dict(row.columns) for row in rows])
    if not isinstance(batch, Mapping):
        new = [_as_row(columns, number) for number, columns in enumerate(batch)]
        return [replace(made, task_id=row.task_id) for made, row in zip(new, rows, strict=True)]
    ids = batch["input_ids"]
    mask = batch["attention_mask"].bool() if "attention_mask" in batch else ids != pad
    tokens = [tuple(row[keep].tolist()) for row, keep in zip(ids, mask, strict=True)]
    return [replace(row, token_ids=token_ids) for row, token_ids in zip(rows, tokens, strict=True)]


def fitting_rows(rows: Sequence[PromptRow], query_length: Callable[[PromptRow], int], limit: float) -> list[PromptRow]:
    """Return the rows whose longest query has at most `limit` tokens. Name the others in a warning."""
    too_long = {row.task_id for row in rows if query_length(row) > limit}
    if too_long:
        names = ", ".join(sorted(too_long)[:10]) + (", ..." if len(too_long) > 10 else "")
        logger.warning(
            f"{len(too_long)} of {len(rows)} problems are left out: their queries have more than {limit} tokens "
            f"({names}). Raise `max_prompt_length`, lower `response_length` (GRPO: `max_completion_length`), "
            "or use a model with more positions."
        )
    return [row for row in rows if row.task_id not in too_long]
