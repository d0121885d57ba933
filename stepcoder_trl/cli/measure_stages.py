"""Flags and lines of `stepcoder-trl check --measure-stages`: pass rates of the stages with a model."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from dataclasses import fields
from types import SimpleNamespace
from typing import Any

from stepcoder_trl.cli.progress_bar import progress_bar
from stepcoder_trl.curriculum.measured import (
    SUMMARY_HEADER,
    StageRate,
    by_problem,
    is_measurement,
    summarize_stages,
    summary_cells,
)
from stepcoder_trl.data.problems import Problem
from stepcoder_trl.errors import BadInputError
from stepcoder_trl.executor import Backend
from stepcoder_trl.steps.checks import QueryRule


def add_measurement_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags to those of `check`."""
    add = parser.add_argument_group("pass rates of stages").add_argument
    add("--measure-stages", metavar="FILE", help="Sample each stage with the model, and save the counts here.")
    add("--samples", type=int, default=4, metavar="N", help="Samples of each stage (default: 4).")


def measured_lines(
    arguments: argparse.Namespace,
    model: str | None,
    training_args: Any,
    rule: QueryRule,
    problems: Sequence[Problem],
    executor: Backend,
) -> list[str]:
    """
    Measure the stages of problems, and return a table of problems by stage and pass rate.

    Completions are sampled as in training: by `training_args`, or else by the defaults of `arguments.trainer`.
    """
    if model is None or arguments.trainer == "sft":
        raise BadInputError(
            "`--measure-stages` samples as PPO or GRPO. Name a model with `--model`, and leave out `--trainer sft`."
        )
    if arguments.samples < 1:
        raise BadInputError(f"`--samples` is {arguments.samples}, but must be at least 1.")
    if os.path.exists(arguments.measure_stages) and not is_measurement(arguments.measure_stages):
        raise BadInputError(
            f"`--measure-stages` names {arguments.measure_stages}, which holds something else. Name a file that may "
            "be written."
        )
    from stepcoder_trl.cli.training import training_classes
    from stepcoder_trl.evaluation.measured_stages import StageSampling, measure_model
    from stepcoder_trl.trainer.dry_run import completion_length

    defaults = {one.name: one.default for one in fields(training_classes(arguments.trainer)[1])}
    args = training_args or SimpleNamespace(**defaults)
    sampling = StageSampling(
        samples=arguments.samples,
        max_new_tokens=completion_length(args, arguments.trainer),
        temperature=args.temperature,
        top_p=args.top_p,
        seed=args.seed,
        kinds=rule.kinds,
        chat_template_kwargs=rule.chat_template_kwargs,
    )
    rates = measure_model(
        problems,
        model,
        rule.tokenizer,
        sampling,
        executor,
        arguments.measure_stages,
        lambda total: progress_bar("measuring stages", total),
    )
    return stage_table(rates)


def stage_table(rates: Sequence[StageRate]) -> list[str]:
    """Return a table of problems by stage and pass rate, as lines."""
    if not rates:
        return ["Stages were not sampled: no problem has more than one."]
    rows = [SUMMARY_HEADER, *(tuple(summary_cells(one)) for one in summarize_stages(rates))]
    widths = [max(len(row[column]) for row in rows) for column in range(len(SUMMARY_HEADER))]
    title = f"Problems by stage and pass rate, {len(by_problem(rates))} with more than one stage:"
    lines = ("  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)
    return [title, *(f"  {line}" for line in lines)]
