"""Quickstart: fine-tune a tiny model, evaluate it, train it with StepCoder PPO, evaluate it again."""

from __future__ import annotations

import dataclasses
import resource
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from rich.console import Console
from transformers.utils import logging

from stepcoder_trl.evaluation import Evaluation
from stepcoder_trl.executor import CodeExecutor, ExecutorConfig
from stepcoder_trl.executor.wire.system import num_cores
from stepcoder_trl.jsonl import write_json
from stepcoder_trl.quickstart.run_directory import RunDirectory
from stepcoder_trl.quickstart.sections import (
    Material,
    UpdateLog,
    evaluate,
    fine_tune_model,
    pass_rates,
    prepare,
    show_results,
    stage_row,
    train,
)
from stepcoder_trl.quickstart.settings import QuickstartConfig
from stepcoder_trl.quickstart.tiny_model import SFTStep
from stepcoder_trl.versions import versions


NEXT = """Next, your own problems:
  stepcoder-trl check mine.jsonl
  stepcoder-trl sft --problems mine.jsonl --model_name_or_path MODEL --output_dir runs/sft
  stepcoder-trl ppo --problems mine.jsonl --model_name_or_path runs/sft --output_dir runs/ppo"""


def run_quickstart(config: QuickstartConfig, console: Console | None = None) -> dict[str, Any]:
    """
    Run the quickstart and return its summary.

    Generates problems, fine-tunes a tiny model on programs with planted errors, trains it with StepCoder PPO, and
    compares pass@1 before and after.

    Writes to the run directory: `summary.json`, `curves.jsonl`, `curves.png` (with the extra `plots`), `stages.jsonl`,
    `report.html`, `rollouts.jsonl`, `problems_few_tests.jsonl` (those of training), `problems_train.jsonl`
    (the same problems, all tests), `problems_heldout.jsonl`, `sft/` and `policy/`.
    """
    run = RunDirectory(config.out, console or Console())
    start_s, cpu_start_s = time.perf_counter(), _cpu_seconds()
    with _torch_threads(config.num_threads), _no_library_progress_bars():
        material = prepare(config, run)
        curve = fine_tune_model(config, material, run)
        workers = ExecutorConfig(num_workers=min(2, num_cores()), timeout_s=1.0)
        with CodeExecutor(workers) as executor:
            run.print_heading("Before training: greedy programs under all tests")
            before = evaluate(material, executor, run, update=0)
            log = train(config, material, executor, run)
            run.print_heading("After training")
            after = evaluate(material, executor, run, update=config.sizes.updates)
    show_results(log, before, after, run)
    summary = {
        **_results(config, material, curve, log, before, after),
        "seconds": round(time.perf_counter() - start_s, 1),
        "cpu_seconds": round(_cpu_seconds() - cpu_start_s, 1),
        "seed": config.seed,
        "settings": dataclasses.asdict(config),
        "versions": versions(),
    }
    write_json(run.path / "summary.json", summary)
    done = f"Took {summary['seconds']:.0f} s. Everything is in {run.path}/: open report.html."
    run.console.print(done, markup=False, soft_wrap=True)
    run.console.print(NEXT, markup=False, highlight=False, soft_wrap=True)  # commands stay in one piece
    return summary


def _results(
    config: QuickstartConfig,
    material: Material,
    curve: Sequence[SFTStep],
    log: UpdateLog,
    before: dict[str, Evaluation],
    after: dict[str, Evaluation],
) -> dict[str, Any]:
    """Return the part of the summary that does not depend on the machine."""
    sizes = config.sizes
    return {
        "pass_at_1_before": pass_rates(before),
        "pass_at_1_after": pass_rates(after),
        "outcomes_before": _outcomes(before),
        "outcomes_after": _outcomes(after),
        "num_problems": {name: len(evaluation.samples) for name, evaluation in before.items()},
        "infrastructure_errors": sum(one.infrastructure_errors for one in (*before.values(), *after.values())),
        "sft_loss": _mean_of_last([step.loss for step in curve]),
        "sft_loss_floor": _mean_of_last([step.floor for step in curve]),
        "curriculum": {"first": stage_row(log.stages[0]), "last": stage_row(log.stages[-1])},
        "completions": sizes.updates * sizes.prompts_per_update * sizes.num_generations,
        "parameters": sum(parameter.numel() for parameter in material.model.parameters()),
    }


def _outcomes(evaluations: dict[str, Evaluation]) -> dict[str, dict[str, int]]:
    """Return the number of programs with each outcome, for each set of problems."""
    return {
        name: dict(Counter(s.execution.outcome.value for s in evaluation.samples if s.execution is not None))
        for name, evaluation in evaluations.items()
    }


def _mean_of_last(values: Sequence[float]) -> float:
    """Return the mean of the last 50 values, because single batches differ."""
    last = values[-50:]
    return round(sum(last) / len(last), 4)


@contextmanager
def _torch_threads(number: int) -> Iterator[None]:
    """Set PyTorch's number of threads, and restore it."""
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def _no_library_progress_bars() -> Iterator[None]:
    """Switch the progress bars of transformers off, and restore them."""
    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


def _cpu_seconds() -> float:
    """Return the CPU time of this process and of its children that ended."""
    usages = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)
