"""Problems that are measured, in a random order that is fixed: the first ones are a sample of all."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain, zip_longest
from pathlib import Path
from typing import Any

from stepcoder_trl import load_problems
from stepcoder_trl.curriculum import Stage
from stepcoder_trl.curriculum.cut import curriculum_stages
from stepcoder_trl.data.prompts import style_prompts
from stepcoder_trl.errors import BadInputError
from stepcoder_trl.steps.queries import Query, build_query
from stepcoder_trl.steps.rows import PromptRow, as_rows


FILES = {"MBPP": "mbpp.jsonl", "APPS+": "apps_plus_valid.jsonl"}
ORDER_SEED = 0


@dataclass(frozen=True)
class Task:
    """Problem of a set, with its stages from the first of training to scratch."""

    set_name: str
    row: PromptRow
    stages: tuple[Stage, ...]

    def query(self, stage: Stage, tokenizer: Any) -> Query:
        """Build the query of a stage, as the trainers do."""
        code = stage.prefix or self.row.starter_code
        return build_query(self.row.prompt, code, tokenizer, task_id=self.row.task_id)


def load_tasks(
    data: Path, sets: Sequence[str], tokenizer: Any, prompt_tokens: int, solution_tokens: int
) -> list[Task]:
    """
    Return the problems with two stages or more that fit, the sets in turn, each in its random order.

    Args:
        data (`Path`): Folder with the files of `FILES`.
        sets (`Sequence[str]`): Names of sets.
        tokenizer (tokenizer): Tokenizer with a chat template.
        prompt_tokens (`int`): Most tokens of a query from scratch.
        solution_tokens (`int`): Most tokens of a solution.
    """
    return alternate([_tasks(data / FILES[name], name, tokenizer, prompt_tokens, solution_tokens) for name in sets])


def _tasks(path: Path, name: str, tokenizer: Any, prompt_tokens: int, solution_tokens: int) -> list[Task]:
    if not path.is_file():
        raise BadInputError(f"{path} is not there. Name the folder with {path.name} by --data or STEPCODER_DATA.")
    rows = as_rows(style_prompts(load_problems(path), "chat", tokenizer))
    tasks = []
    for row in rows:
        task = Task(name, row, tuple(curriculum_stages(row.canonical_solution, row.starter_code)))
        if len(task.stages) < 2 or len(tokenizer(row.canonical_solution)["input_ids"]) > solution_tokens:
            continue
        if len(task.query(task.stages[-1], tokenizer).token_ids) <= prompt_tokens:
            tasks.append(task)
    return shuffled(tasks)


def shuffled(tasks: Iterable[Task]) -> list[Task]:
    """Return tasks in an order that depends on their names alone."""
    ordered = sorted(tasks, key=lambda task: task.row.task_id)
    random.Random(ORDER_SEED).shuffle(ordered)
    return ordered


def alternate(sets: Sequence[Sequence[Task]]) -> list[Task]:
    """Return one task of each set in turn, while there are any."""
    return [task for task in chain.from_iterable(zip_longest(*sets)) if task is not None]
