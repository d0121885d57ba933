"""A problem, a tokenizer and completions that need no model, so that updates of different trainers can be compared."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any


SOLUTION = (
    "def sign(x):\n    if x > 100:\n        return 1\n    for _ in range(2):\n        x += 0\n"
    "    if x > 0:\n        return 1\n    if x < 0:\n        return -1\n    return 0\n"
)
TESTS = {"type": "call", "fn_name": "sign", "inputs": [[5], [-2], [0]], "outputs": [1, -1, 0]}
STARTER_CODE = "def sign(x):\n"
_BODIES = ("\n    return (x > 0) - (x < 0)", "\n    return 1")  # right and wrong


def byte_tokenizer(vocabulary: int) -> Any:
    """Return a tokenizer with one token per byte, filled up to a vocabulary size with unused names."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    names = ["<pad>", "<eos>", *sorted(pre_tokenizers.ByteLevel.alphabet())]
    names += [f"w{number}" for number in range(vocabulary - len(names))]
    bpe = Tokenizer(models.BPE({name: number for number, name in enumerate(names)}, []))
    bpe.pre_tokenizer, bpe.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=bpe, pad_token="<pad>", eos_token="<eos>", padding_side="left")


def problems(number: int, query_tokens: int) -> list[dict[str, Any]]:
    """Return equal problems. In bytes, prompt and starter code have the given length."""
    row = {
        "prompt": prompt(query_tokens),
        "starter_code": STARTER_CODE,
        "canonical_solution": SOLUTION,
        "tests": TESTS,
    }
    return [{"task_id": str(index), **row} for index in range(number)]


def prompt(query_tokens: int) -> str:
    """Return a prompt that fills a query up to a number of bytes."""
    return "Return the sign of x.\n".ljust(query_tokens - len(STARTER_CODE.strip()) - 1, "#") + "\n"


def completions(number: int, length: int, tokenizer: Any) -> list[list[int]]:
    """Return tokens of different lengths: right and wrong bodies by turns, then statements that never run, and EOS."""
    draw = random.Random(0)
    rows = []
    for index in range(number):
        text = _BODIES[index % 2] + "\n    x = x + 1" * length
        kept = text[: draw.randint(length // 4, length) - 1]
        rows.append([*tokenizer(kept)["input_ids"], tokenizer.eos_token_id])
    return rows


def replay_for_ppo(table: Sequence[Sequence[int]]) -> Callable[..., Any]:
    """Return a function for `StepCoderPPOTrainer.generate` that returns the completions of a table."""
    import torch

    from stepcoder_trl.evaluation.generation import Generation
    from stepcoder_trl.steps.padding import pad_left

    def generate(model: Any, queries: Any, tokenizer: Any, *_: Any, **__: Any) -> Generation:
        ids, mask = pad_left([query.token_ids for query in queries], 0, model.device)
        lengths = torch.tensor([len(row) for row in table], device=model.device)
        stopped = torch.ones(len(table), dtype=torch.bool, device=model.device)
        return Generation(ids, mask, _padded(table, model.device), lengths, stopped)

    return generate


def replay_for_grpo(table: Sequence[Sequence[int]]) -> Callable[..., Any]:
    """Return a function for the `generate` of a GRPO trainer's model that returns the completions of a table."""
    import torch

    def generate(input_ids: Any, *_: Any, **__: Any) -> Any:
        return torch.cat([input_ids, _padded(table, input_ids.device)], dim=1)

    return generate


def _padded(table: Sequence[Sequence[int]], device: Any) -> Any:
    import torch

    width = max(map(len, table))
    return torch.tensor([[*row, *[0] * (width - len(row))] for row in table], device=device)
