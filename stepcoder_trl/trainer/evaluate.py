"""Evaluation while training: which problems a process takes, and how completions are drawn."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch

from stepcoder_trl.errors import BadInputError
from stepcoder_trl.evaluation.generation import SamplingConfig
from stepcoder_trl.evaluation.results import EvaluatedSample
from stepcoder_trl.steps.programs import Feedback
from stepcoder_trl.steps.rows import PromptRow, as_rows
from stepcoder_trl.trainer.checkpoints import random_state, set_random_state
from stepcoder_trl.trainer.ppo_config import StepCoderPPOConfig
from stepcoder_trl.trainer.records import Rollout, Scores


NOT_RUN = "could not be run"


@dataclass(frozen=True)
class EvalItem:
    """
    One completion to be drawn for an evaluation.

    Attributes:
        number (`int`): Place in the whole evaluation.
        row (`PromptRow`): Problem.
        counts (`bool`): Whether it counts; an item that only fills up a process's share does not.
    """

    number: int
    row: PromptRow
    counts: bool


def evaluation_sets(dataset: Any, prefix: str) -> dict[str, list[PromptRow]]:
    """
    Rows to evaluate, by prefix of their metrics.

    Args:
        dataset ([`~datasets.Dataset`], sequence of [`Problem`] or mappings, or `dict` of them):
            Problems, or rows with `input_ids`.
        prefix (`str`):
            Prefix; the name of a set in a `dict` is added to it.

    Returns:
        `dict[str, list[PromptRow]]`

    Raises:
        BadInputError: If there is none, or one without rows.
    """
    if dataset is None:
        raise BadInputError("There is no `eval_dataset`. Pass problems with tests to the trainer, or to `evaluate`.")
    named = {f"{prefix}_{name}": rows for name, rows in dataset.items()} if isinstance(dataset, Mapping) else None
    sets = {name: as_rows(rows, "eval_dataset") for name, rows in (named or {prefix: dataset}).items()}
    for name, rows in sets.items():
        if not rows:
            raise BadInputError(f"`eval_dataset` has no rows for {name!r}. Pass problems with tests, or leave it out.")
    return sets


def share_of(rows: Sequence[PromptRow], num_samples: int, rank: int, num_processes: int) -> list[EvalItem]:
    """
    Items of one process.

    All processes get as many, so that under sharded parameters nobody waits for forward passes that never come; what
    is missing at the end is filled up from the beginning.

    Args:
        rows (`Sequence[PromptRow]`):
            Rows to evaluate.
        num_samples (`int`):
            Completions per row.
        rank (`int`):
            Number of this process.
        num_processes (`int`):
            Processes.

    Returns:
        `list[EvalItem]`
    """
    total = len(rows) * num_samples
    size = -(-total // num_processes)
    places = range(rank * size, (rank + 1) * size)
    return [EvalItem(place % total, rows[place % total // num_samples], place < total) for place in places]


def eval_sampling(
    args: StepCoderPPOConfig, stop_token_id: int | None, temperature: float | None = None
) -> SamplingConfig:
    """How completions of an evaluation are drawn, at its own temperature unless one is given."""
    length = args.eval_response_length or args.response_length
    warmth = args.eval_temperature if temperature is None else temperature
    return SamplingConfig(length, warmth, args.eval_top_p, stop_token_id)


def eval_budgets(args: StepCoderPPOConfig) -> list[int]:
    """Budgets `k` of pass@k: those asked for, and always 1."""
    return sorted({1, args.eval_num_generations, *(args.eval_pass_at or ())})


@contextmanager
def undisturbed(seed: int) -> Iterator[None]:
    """Seed all random generators, and set them back to what they were: training must not notice an evaluation."""
    state = random_state()
    torch.manual_seed(seed)
    try:
        yield
    finally:
        set_random_state(state)


def evaluated_samples(rollout: Rollout, feedback: Feedback, scores: Scores) -> list[EvaluatedSample]:
    """What an evaluation keeps of completions."""
    rows = zip(
        rollout.completions,
        feedback.executions,
        rollout.generation.lengths.tolist(),
        rollout.generation.stopped.tolist(),
        scores.scores.tolist(),
        scores.scored.tolist(),
        strict=True,
    )
    return [
        EvaluatedSample(
            task_id=completion.start.row.task_id,
            completion=completion.text,
            program=completion.program.text,
            execution=execution,
            error=NOT_RUN if execution is None and completion.start.row.tests is not None else "",
            num_tokens=length,
            stopped=stopped,
            score=score if scored else None,
        )
        for completion, execution, length, stopped, score, scored in rows
    ]


def best_metric_name(args: StepCoderPPOConfig, metrics: Mapping[str, float], prefix: str = "eval") -> str | None:
    """
    Metric that the best checkpoint is chosen by.

    Args:
        args ([`StepCoderPPOConfig`]):
            `metric_for_best_model`, if one is given.
        metrics (`Mapping[str, float]`):
            Metrics of an evaluation.
        prefix (`str`, *optional*, defaults to `"eval"`):
            Prefix of all metrics.

    Returns:
        `str` or `None`: By default pass@1, without tests the mean score; of several sets that of the first. `None` if
        the metric was not measured this time because nothing could be run.

    Raises:
        BadInputError: If `metric_for_best_model` names no metric.
    """
    given: str | None = args.metric_for_best_model
    if given is None:
        for wanted in ("pass@1", "objective/scores"):
            found = [name for name in metrics if name.endswith(f"_{wanted}")]
            if found:
                return found[0]
        return None
    name = given if given.startswith(f"{prefix}_") else f"{prefix}_{given}"
    if name in metrics:
        return name
    if any(metrics[one] for one in metrics if one.endswith("infrastructure_errors")):
        return None
    raise BadInputError(
        f"`metric_for_best_model` is {given!r}, but an evaluation measures {', '.join(sorted(metrics))}. Name one of "
        "them."
    )
