"""Samples in the formats of other evaluation harnesses."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence

from stepcoder_trl.data.problems import Problem
from stepcoder_trl.evaluation.sample_files import Candidate


def export_samples(candidates: Sequence[Candidate], problems: Sequence[Problem], form: str) -> str:
    """
    Write samples as another harness reads them.

    Args:
        candidates (`Sequence[Candidate]`):
            Samples.
        problems (`Sequence[Problem]`):
            Their problems, in order.
        form (`str`):
            `"human-eval"`: JSONL of `task_id` and `completion`, the program without the starter code. `"evalplus"`:
            JSONL of `task_id` and `solution`, the program. `"bigcode"`: a JSON array with the programs of each
            problem, in the order of the problems. `"livecodebench"`: a JSON array of `question_id` and `code_list`.

    Returns:
        `str`: Content of the file.
    """
    return EXPORTS[form](candidates, problems)


def _human_eval(candidates: Sequence[Candidate], problems: Sequence[Problem]) -> str:
    # The harness glues the stub and the completion together. A program that does not begin with the stub as it stands
    # (generation goes on from its last letter) defines the function again, which means the same.
    starters = {problem.task_id: problem.starter_code for problem in problems}
    rows = []
    for candidate in candidates:
        starter = starters[candidate.task_id]
        whole = starter and not candidate.program.startswith(starter)
        text = "\n" + candidate.program if whole else candidate.program[len(starter) :]
        rows.append({"task_id": candidate.task_id, "completion": _pass_stub(starter) + text if whole else text})
    return _lines(rows)


def _pass_stub(starter: str) -> str:
    """A body for the stub that is defined again below: one without a docstring has none yet."""
    last = starter.rstrip("\n").rsplit("\n", 1)[-1]
    indentation = last[: len(last) - len(last.lstrip())]
    if last.endswith(":") or not indentation:
        indentation += "    "
    return f"{indentation}pass\n"


def _evalplus(candidates: Sequence[Candidate], _: Sequence[Problem]) -> str:
    return _lines([{"task_id": candidate.task_id, "solution": candidate.program} for candidate in candidates])


def _bigcode(candidates: Sequence[Candidate], problems: Sequence[Problem]) -> str:
    return json.dumps(list(_by_problem(candidates, problems).values())) + "\n"


def _livecodebench(candidates: Sequence[Candidate], problems: Sequence[Problem]) -> str:
    found = {task_id: codes for task_id, codes in _by_problem(candidates, problems).items() if codes}
    return json.dumps([{"question_id": task_id, "code_list": codes} for task_id, codes in found.items()]) + "\n"


def _by_problem(candidates: Sequence[Candidate], problems: Sequence[Problem]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {problem.task_id: [] for problem in problems}
    for candidate in candidates:
        found[candidate.task_id].append(candidate.program)
    return found


def _lines(rows: Sequence[dict[str, str]]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


EXPORTS: dict[str, Callable[[Sequence[Candidate], Sequence[Problem]], str]] = {
    "human-eval": _human_eval,
    "evalplus": _evalplus,
    "bigcode": _bigcode,
    "livecodebench": _livecodebench,
}
