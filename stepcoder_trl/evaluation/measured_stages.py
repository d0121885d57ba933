"""Pass rates of the stages of problems with a model in a folder, without training."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from typing import Any

from accelerate import PartialState

from stepcoder_trl.curriculum import CurriculumConfig
from stepcoder_trl.curriculum.cut import Kinds
from stepcoder_trl.curriculum.measured import MeasurementFile, StageRate
from stepcoder_trl.data.problems import Problem
from stepcoder_trl.evaluation.engines import loading, transformers_engine
from stepcoder_trl.evaluation.generation import SamplingConfig
from stepcoder_trl.evaluation.sample_files import weights_digest
from stepcoder_trl.evaluation.sampling import Engine
from stepcoder_trl.executor import Backend
from stepcoder_trl.steps.measurement import (
    SampleGroups,
    groups_digest,
    groups_to_measure,
    measure_groups,
    passes_of,
    split_groups,
)
from stepcoder_trl.steps.queries import Query, build_query, program_of
from stepcoder_trl.steps.rows import PromptRow, as_rows
from stepcoder_trl.steps.solutions import check_solutions, use_solutions
from stepcoder_trl.steps.starts import Start, make_curriculum
from stepcoder_trl.types import Execution


ShowProgress = Callable[[int], AbstractContextManager[Callable[[], object]]]

_COMPLETIONS = 32  # at a time


@dataclass(frozen=True)
class StageSampling:
    """
    Settings of a measurement.

    Attributes:
        samples (`int`): Samples of each stage of a problem.
        max_new_tokens (`int`): Maximum number of tokens per completion.
        temperature (`float`): Sampling temperature.
        top_p (`float`): Nucleus probability.
        seed (`int`): Seed.
        kinds (`str`): Statements at which a stage may start.
        chat_template_kwargs (`dict` or `None`): Arguments of the chat template.
    """

    samples: int
    max_new_tokens: int
    temperature: float
    top_p: float
    seed: int
    kinds: Kinds = "statements"
    chat_template_kwargs: dict[str, Any] | None = None


def measure_model(
    problems: Sequence[Problem],
    model: str,
    tokenizer: Any,
    sampling: StageSampling,
    executor: Backend,
    path: str | os.PathLike[str],
    show_progress: ShowProgress = lambda total: nullcontext(lambda: None),
) -> list[StageRate]:
    """
    Sample each stage of each problem with a model, and run the programs. Nothing is trained.

    The counts are saved after each batch. A measurement that was stopped goes on, if model, problems and settings are
    the same. Problems whose solution fails its tests have scratch alone, and are not sampled.

    Args:
        problems (`Sequence[Problem]`): Problems, with prompts in the style of the model.
        model (`str`): Folder of the model or adapter.
        tokenizer (tokenizer): Its tokenizer.
        sampling ([`StageSampling`]): Settings.
        executor (`Backend`): Runs the programs.
        path (`str` or path): File of the counts.
        show_progress (`Callable`, *optional*): Takes the number of stages, and returns a context manager that yields a
            function, which is called once for each.

    Returns:
        `list[StageRate]`: Counts of all stages. It is empty if no problem has more than one stage.
    """
    rows = as_rows(problems)
    rows = use_solutions(rows, check_solutions(rows, executor))
    curriculum = make_curriculum(rows, CurriculumConfig(kinds=sampling.kinds))
    groups = [] if curriculum is None else groups_to_measure(rows, curriculum)
    if not groups:
        return []

    def query_of(row: PromptRow, prefix: str) -> Query:
        code = prefix or row.starter_code
        return build_query(row.prompt, code, tokenizer, sampling.chat_template_kwargs, task_id=row.task_id)

    identity = {
        "model": weights_digest(model) or model,
        "problems": groups_digest(groups, query_of),
        "timeout_s": executor.timeout_s,
        **asdict(sampling),
    }
    file = MeasurementFile(path, identity)
    rates = file.read()
    with loading(model):
        settings = SamplingConfig(
            sampling.max_new_tokens, sampling.temperature, sampling.top_p, tokenizer.eos_token_id
        )
        engine = transformers_engine(model, "auto", tokenizer, settings, PartialState().device)
    sample = _sampler(engine, executor, sampling)
    size = max(1, _COMPLETIONS // sampling.samples)
    with show_progress(len(groups) - len(rates)) as advance:
        for batch in measure_groups(groups, size, query_of, sample, rates):
            rates = [*rates, *batch]
            file.write(rates)
            for _ in batch:
                advance()
    return rates


def _sampler(engine: Engine, executor: Backend, sampling: StageSampling) -> SampleGroups:
    """Return a function that samples the starts of a batch and runs the programs."""

    def sample(starts: Sequence[Start], number: int) -> list[list[bool | None]]:
        repeated = [start for start in starts for _ in range(sampling.samples)]
        generated = engine([start.query for start in repeated], sampling.seed + number)
        programs = [program_of(start.query, one.text).text for start, one in zip(repeated, generated, strict=True)]
        runs = executor.run_many(programs, [start.row.tests or {} for start in repeated], on_error="return")
        executions = [run if isinstance(run, Execution) else None for run in runs]
        return split_groups(passes_of(executions), sampling.samples)

    return sample
