"""Evaluation of a model that is already in memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from transformers import PreTrainedTokenizerBase

from stepcoder_trl.data.problems import Problem
from stepcoder_trl.evaluation.engines import model_engine
from stepcoder_trl.evaluation.generation import SamplingConfig
from stepcoder_trl.evaluation.results import Evaluation
from stepcoder_trl.evaluation.sampling import build_requests, draw_batch, seeded, split_batches
from stepcoder_trl.evaluation.scoring import score_samples
from stepcoder_trl.executor import Backend


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
    chat_template_kwargs: Mapping[str, Any] | None = None,
) -> Evaluation:
    """
    Generate programs from scratch and run them under their tests while the next batch is generated.

    The random state and the mode of the model are restored afterwards.

    Paper: StepCoder (arXiv:2402.01391), section 4.2: temperature 0.2, top-p 0.95, at most 1024 tokens.
    """
    engine = model_engine(model, tokenizer, SamplingConfig(max_new_tokens, temperature, top_p, tokenizer.eos_token_id))
    requests = build_requests(problems, num_samples, tokenizer, chat_template_kwargs)
    training = model.training
    model.eval()
    try:
        with seeded(seed):
            batches = split_batches(requests, batch_size)
            return score_samples((draw_batch(batch, engine) for batch in batches), executor.submit)
    finally:
        model.train(training)
