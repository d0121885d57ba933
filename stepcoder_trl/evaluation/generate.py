"""Evaluation from scratch: generate, run, count."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

import torch
from transformers import PreTrainedTokenizerBase

from stepcoder_trl.data.problems import Problem
from stepcoder_trl.errors import SandboxError
from stepcoder_trl.executor import CodeExecutor
from stepcoder_trl.generation import SamplingConfig, build_query, generate, program_of
from stepcoder_trl.masking import token_texts
from stepcoder_trl.types import Execution, Outcome


@dataclass(frozen=True)
class EvaluatedSample:
    """
    One completion and what became of its program.

    Attributes:
        task_id (`str`): Problem.
        completion (`str`): Text the model wrote.
        program (`str`): What was run.
        execution (`Execution` or `None`): Result, `None` when it could not be run for a reason that is ours.
        error (`str`): That reason, else empty.
    """

    task_id: str
    completion: str
    program: str
    execution: Execution | None
    error: str = ""

    @property
    def passed(self) -> bool:
        """Whether every test passed."""
        return self.execution is not None and self.execution.outcome is Outcome.PASSED


@dataclass(frozen=True)
class Evaluation:
    """
    Result of an evaluation.

    Attributes:
        samples (`tuple[EvaluatedSample, ...]`): In the order of the problems, samples of one problem together.
    """

    samples: tuple[EvaluatedSample, ...]

    def counts(self) -> dict[str, tuple[int, int]]:
        """Scored samples `n` and passing samples `c` of each problem; samples that could not be run do not count."""
        counts = {sample.task_id: (0, 0) for sample in self.samples}
        for sample in self.samples:
            if sample.execution is not None:
                n, c = counts[sample.task_id]
                counts[sample.task_id] = (n + 1, c + sample.passed)
        return counts

    @property
    def pass_at_1(self) -> float:
        """Mean over the problems of the share of passing samples; 0 without a scored sample."""
        shares = [c / n for n, c in self.counts().values() if n]
        return fmean(shares) if shares else 0.0

    @property
    def infrastructure_errors(self) -> int:
        """Number of samples that could not be run."""
        return sum(sample.execution is None for sample in self.samples)


def evaluate_pass_at_1(
    model: torch.nn.Module,
    tokenizer: PreTrainedTokenizerBase,
    problems: Sequence[Problem],
    executor: CodeExecutor,
    max_new_tokens: int = 1024,
    temperature: float = 0.2,
    top_p: float = 0.95,
    num_samples: int = 1,
    batch_size: int = 16,
    seed: int = 0,
) -> Evaluation:
    """
    Generate programs from scratch and run them under their tests.

    Leaves the random state and the mode of the model as they were.

    Args:
        model ([`~transformers.PreTrainedModel`]):
            Causal language model.
        tokenizer ([`~transformers.PreTrainedTokenizerBase`]):
            Its tokenizer.
        problems (`Sequence[Problem]`):
            Problems with tests, in the order of the result.
        executor ([`CodeExecutor`]):
            Runs the programs while the next batch is generated.
        max_new_tokens (`int`, *optional*, defaults to `1024`):
            Most tokens of a completion.
        temperature (`float`, *optional*, defaults to `0.2`):
            Sampling temperature; 0 takes the likeliest token.
        top_p (`float`, *optional*, defaults to `0.95`):
            Probability mass of the likeliest tokens that are sampled from.
        num_samples (`int`, *optional*, defaults to `1`):
            Completions per problem.
        batch_size (`int`, *optional*, defaults to `16`):
            Completions generated together.
        seed (`int`, *optional*, defaults to `0`):
            Seed of the sampling.

    Returns:
        [`Evaluation`]

    Paper: StepCoder (arXiv:2402.01391), section 4.2: temperature 0.2, top-p 0.95, at most 1024 tokens.
    """
    sampling = SamplingConfig(max_new_tokens, temperature, top_p, tokenizer.eos_token_id)
    work = [problem for problem in problems for _ in range(num_samples)]
    training, pending = model.training, []
    devices = [model.device] if model.device.type == "cuda" else []
    model.eval()
    try:
        with torch.random.fork_rng(devices):
            torch.manual_seed(seed)
            for start in range(0, len(work), batch_size):
                chunk = work[start : start + batch_size]
                queries = [build_query(problem.prompt, problem.starter_code, tokenizer) for problem in chunk]
                generation = generate(model, queries, tokenizer, sampling, batch_size)
                for problem, query, ids in zip(chunk, queries, generation.completion_ids(), strict=True):
                    completion = token_texts(ids, tokenizer).text
                    program = program_of(query, completion).text
                    future = executor.submit(program, problem.tests)
                    pending.append((problem.task_id, completion, program, future))
    finally:
        model.train(training)
    samples = []
    for task_id, completion, program, future in pending:
        try:
            samples.append(EvaluatedSample(task_id, completion, program, future.result()))
        except SandboxError as error:
            samples.append(EvaluatedSample(task_id, completion, program, None, str(error)))
    return Evaluation(tuple(samples))
