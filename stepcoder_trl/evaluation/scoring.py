"""Scoring: run the programs of samples under their tests."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import replace
from typing import Any

from stepcoder_trl.data.problems import Problem
from stepcoder_trl.errors import SandboxError
from stepcoder_trl.evaluation.results import EvaluatedSample, Evaluation
from stepcoder_trl.evaluation.sampling import Sample
from stepcoder_trl.executor import Backend
from stepcoder_trl.executor.verdict.schema import Tests
from stepcoder_trl.steps.solutions import needs_its_tests_inside, patient, with_runs_inside
from stepcoder_trl.types import Execution


Submit = Callable[[str, Mapping[str, Any]], Future[Execution]]  # starts a program under its tests
Submitted = tuple[Sample, Future[Execution] | None]  # no future without tests
ShowProgress = Callable[[Sequence[Any]], Iterable[Any]]  # iterates over a sequence, e.g. with a progress bar


def score_samples(
    batches: Iterable[Sequence[Sample]], submit: Submit, show_progress: ShowProgress = iter
) -> Evaluation:
    """
    Run the programs of samples under their tests. `submit` starts one, for example `executor.submit`.

    The programs of a batch are submitted before the next batch is requested, so that they run while it is drawn.
    Results are collected at the end. If the sandbox failed to run a program, its sample has an `error`.
    """
    submitted = (
        (sample, None if sample.tests is None else submit(sample.program, sample.tests))
        for batch in batches
        for sample in batch
    )
    return collect_samples(submitted, show_progress)


def collect_samples(submitted: Iterable[Submitted], show_progress: ShowProgress = iter) -> Evaluation:
    """
    Return the results of samples whose programs are submitted while `submitted` is iterated over.

    If an error ends the iteration, programs that did not start yet are cancelled.
    """
    pending: list[Submitted] = []
    try:
        for one in submitted:
            pending.append(one)  # one by one: after an error the earlier ones are cancelled
        return Evaluation(tuple(_evaluated(sample, future) for sample, future in show_progress(pending)))
    finally:
        for _, future in pending:
            if future is not None:
                future.cancel()


def with_tests_inside(
    evaluation: Evaluation, samples: Sequence[Sample], problems: Sequence[Problem], executor: Backend
) -> Evaluation:
    """
    Score samples again whose tests have to run with the program, as the canonical solution of their problem shows.

    The solution decides, as before training, and never a sample. It is run only where a sample failed.
    """
    failed = {
        sample.task_id
        for sample, one in zip(samples, evaluation.samples, strict=True)
        if one.execution is not None and needs_its_tests_inside(sample.tests or {}, one.execution)
    }
    doubtful = [problem for problem in problems if problem.task_id in failed and problem.canonical_solution.strip()]
    if not doubtful:
        return evaluation
    solutions = [problem.canonical_solution for problem in doubtful]
    tests = [patient(problem.tests or {}, executor.timeout_s) for problem in doubtful]
    runs = executor.run_many(solutions, tests, on_error="return")
    _, inside = with_runs_inside(solutions, tests, runs, executor)
    untrusted = {doubtful[index].task_id for index in inside}
    marked = [
        replace(sample, tests=Tests.parse({**(sample.tests or {}), "trusted": False}))
        for sample in samples
        if sample.task_id in untrusted
    ]
    again = iter(score_samples([marked], executor.submit).samples)
    return Evaluation(tuple(next(again) if one.task_id in untrusted else one for one in evaluation.samples))


def _evaluated(sample: Sample, future: Future[Execution] | None) -> EvaluatedSample:
    """Wait for the result of one program."""
    execution, error = None, ""
    try:
        execution = None if future is None else future.result()
    except SandboxError as failure:
        error = str(failure)
    return EvaluatedSample(
        task_id=sample.task_id,
        completion=sample.completion,
        program=sample.program,
        execution=execution,
        error=error,
        num_tokens=sample.num_tokens,
        stopped=sample.stopped,
    )
