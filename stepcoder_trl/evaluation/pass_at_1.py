"""Evaluation from scratch: generate, run, count."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import replace

import torch
from transformers import PreTrainedTokenizerBase

from stepcoder_trl.data.problems import Problem
from stepcoder_trl.errors import SandboxError
from stepcoder_trl.evaluation.generation import SamplingConfig, generate
from stepcoder_trl.evaluation.results import EvaluatedSample, Evaluation
from stepcoder_trl.executor import Backend
from stepcoder_trl.steps.queries import build_query, program_of
from stepcoder_trl.tokens import token_texts
from stepcoder_trl.types import Execution


def evaluate_pass_at_1(
    model: torch.nn.Module,
    tokenizer: PreTrainedTokenizerBase,
    problems: Sequence[Problem],
    executor: Backend,
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
        executor ([`Backend`]):
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
    training = model.training
    pending: list[tuple[EvaluatedSample, Future[Execution]]] = []
    devices = [model.device] if model.device.type == "cuda" else []
    model.eval()
    try:
        with torch.random.fork_rng(devices):
            torch.manual_seed(seed)
            for start in range(0, len(work), batch_size):
                chunk = work[start : start + batch_size]
                queries = [build_query(problem.prompt, problem.starter_code, tokenizer) for problem in chunk]
                generation = generate(model, queries, tokenizer, sampling, batch_size)
                rows = zip(chunk, queries, generation.completion_ids(), generation.stopped.tolist(), strict=True)
                for problem, query, ids, stopped in rows:
                    text = token_texts(ids, tokenizer).text
                    program = program_of(query, text).text
                    sample = EvaluatedSample(
                        problem.task_id, text, program, execution=None, num_tokens=len(ids), stopped=stopped
                    )
                    pending.append((sample, executor.submit(program, problem.tests)))
    finally:
        model.train(training)
    return Evaluation(tuple(_with_result(sample, future) for sample, future in pending))


def _with_result(sample: EvaluatedSample, future: Future[Execution]) -> EvaluatedSample:
    try:
        return replace(sample, execution=future.result())
    except SandboxError as error:
        return replace(sample, error=str(error))
