"""The metric of evaluations that the best checkpoint is chosen by."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from stepcoder_trl.errors import BadInputError
from stepcoder_trl.steps.rows import PromptRow


def settle_best_metric(args: Any, sets: Mapping[str, Sequence[PromptRow]], without_tests: str) -> None:
    """
    Fit `metric_for_best_model` to the evaluation sets: pass@1 becomes that of the first of several.

    Args:
        args (`TrainingArguments`): Configuration.
        sets (`dict[str, list[PromptRow]]`): Evaluation sets by name. A single set has the name `""`.
        without_tests (`str`): Metric that takes the place of pass@1 if the set has no tests.

    Raises:
        BadInputError: If the metric belongs to none of several sets.
    """
    given = args.metric_for_best_model
    if given is None or not sets:
        return
    name, first = given.removeprefix("eval_"), next(iter(sets))
    if name == "pass@1":
        wanted = name if any(row.tests is not None for row in sets[first]) else without_tests
        args.metric_for_best_model = f"{first}_{wanted}" if first else wanted
    elif first and not name.startswith(tuple(f"{one}_" for one in sets)):
        raise BadInputError(
            f"`metric_for_best_model` is {given!r}, but `eval_dataset` has several sets, whose metrics have their "
            f"names: {', '.join(sets)}. Write for example 'eval_{first}_{name}'."
        )


def best_metric_name(given: str | None, metrics: Mapping[str, float]) -> str | None:
    """
    Return the metric that the best checkpoint is chosen by: `given`, or pass@1, or without tests the mean score.

    The default is that of the first of several sets. `None` if the sandbox failed and the metric was not measured.

    Raises:
        BadInputError: If `given` names no metric.
    """
    if given is None:
        for wanted in ("pass@1", "objective/scores"):
            found = [name for name in metrics if name.endswith(f"_{wanted}")]
            if found:
                return found[0]
        return None
    name = given if given.startswith("eval_") else f"eval_{given}"
    if name in metrics:
        return name
    if any(metrics[one] for one in metrics if one.endswith("infrastructure_errors")):
        return None
    raise BadInputError(
        f"`metric_for_best_model` is {given!r}, but an evaluation measures {', '.join(sorted(metrics))}. Name one of "
        "them."
    )
