"""Runs samples under their tests."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from stepcoder_trl.data.problems import Problem
from stepcoder_trl.errors import SandboxError
from stepcoder_trl.evaluation.results import EvaluatedSample, Evaluation
from stepcoder_trl.evaluation.sample_files import Candidate
from stepcoder_trl.executor import Backend


Follow = Callable[[Sequence[Any]], Iterable[Any]]  # iterates, and shows how far it is


def score_candidates(
    candidates: Sequence[Candidate], problems: Sequence[Problem], executor: Backend, follow: Follow = iter
) -> Evaluation:
    """
    Run every sample under the tests of its problem.

    Args:
        candidates (`Sequence[Candidate]`):
            Samples.
        problems (`Sequence[Problem]`):
            Their problems, and maybe others.
        executor ([`Backend`]):
            Runs the programs.
        follow (`Callable`, *optional*):
            Goes through the pending results, e.g. with a progress bar.

    Returns:
        [`Evaluation`]: Samples in the same order.
    """
    tests = {problem.task_id: problem.tests for problem in problems}
    futures = [executor.submit(candidate.program, tests[candidate.task_id]) for candidate in candidates]
    samples = []
    for candidate, future in zip(candidates, follow(futures), strict=True):
        execution, error = None, ""
        try:
            execution = future.result()
        except SandboxError as problem:
            error = str(problem)
        samples.append(EvaluatedSample(candidate.task_id, candidate.completion, candidate.program, execution, error))
    return Evaluation(tuple(samples))
