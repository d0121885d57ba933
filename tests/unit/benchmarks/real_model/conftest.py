"""Problems and samplers that the tests of this folder share."""

from __future__ import annotations

import pytest
import torch

from benchmarks.real_model.problems import Task
from stepcoder_trl import CodeExecutor, ExecutorConfig
from stepcoder_trl.curriculum.cut import curriculum_stages
from stepcoder_trl.evaluation.generation import end_completions
from stepcoder_trl.steps.rows import PromptRow
from tests.conftest import SIGN


ASSERTS = {"type": "assert", "setup": "", "asserts": ["assert sign(3) == 1", "assert sign(-2) == -1"]}


def sign_task(name, solution=SIGN, set_name="MBPP", tests=ASSERTS):
    """Problem with two stages."""
    row = PromptRow(name, [{"role": "user", "content": "Write sign."}], "", solution, tests)
    return Task(set_name, row, tuple(curriculum_stages(solution)))


class Recited:
    """Sampler that writes the solution, and for every second sample a wrong program that depends on the seed."""

    def __init__(self, tokenizer):
        self.tokenizer, self.seeds = tokenizer, []

    def __call__(self, queries, seed):
        self.seeds.append(seed)
        texts = []
        for number, query in enumerate(queries):
            known = SIGN.rstrip() if number % 2 == 0 else f"def sign(x):\n    if x == 9:\n        return {8 + seed}"
            rest = known[len(query.prefix) :] if known.startswith(query.prefix) else "\n    return 7"
            texts.append(f"{rest}\n```\nDone.")
        ids = [self.tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts]
        return end_completions(queries, ids, self.tokenizer, [], torch.device("cpu"))


@pytest.fixture(scope="session")
def one_worker():
    with CodeExecutor(ExecutorConfig(num_workers=1)) as one:
        yield one
