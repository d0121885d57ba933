"""Scoring: run the programs of samples under their tests."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from typing import Any

from stepcoder_trl.errors import SandboxError
from stepcoder_trl.evaluation.results import EvaluatedSample, Evaluation
from stepcoder_trl.evaluation.sampling import Sample
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
