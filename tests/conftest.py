"""Tiny models, tokenizers and problems, built in code: no test needs the network."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, settings


# On a busy machine drawing the first text takes seconds, as Hypothesis builds its tables of Unicode then.
settings.register_profile("unhurried", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("unhurried")

# A shell starts jobs in the background with Ctrl-C ignored, `nohup` ignores hang-ups, and that is inherited: tests of
# interruptions must not depend on how they were started.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")

CORPUS = [
    "def add(a, b):\n    return a + b\n",
    "def sign(x):\n    if x > 0:\n        return 1\n    elif x < 0:\n        return -1\n    else:\n        return 0\n",
    "for i in range(10):\n    print(i)\n",
    "n = int(input())\nprint(n * 2)\n",
    "Write a function.\n```python\ndef f(x):\n    while x:\n        x -= 1\n```\n",
]
CHAT_TEMPLATE = (
    "{% for message in messages %}<|{{ message.role }}|>\n{{ message.content }}\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>\n{% endif %}"
)
SIGN = (
    "def sign(x):\n"
    "    if x > 0:\n"
    "        return 1\n"
    "    if x < 0:\n"
    "        return -1\n"
    "    for _ in range(2):\n"
    "        x += 0\n"
    "    if x == 0:\n"
    "        return 0\n"
    "    return None\n"
)
# Options of a training run that takes a second.
SMALL_RUN: dict[str, Any] = {
    "per_device_train_batch_size": 2,
    "gradient_accumulation_steps": 2,
    "num_generations": 2,
    "response_length": 12,
    "logging_steps": 1,
    "learning_rate": 1e-3,
    "value_learning_rate": 3e-3,
    "gradient_checkpointing": False,
    "report_to": "none",
    "use_cpu": True,
    "disable_tqdm": True,
}


def byte_level_bpe(corpus: list[str], vocab_size: int, special_tokens: list[str]) -> Any:
    """Return a byte-level BPE tokenizer of the `tokenizers` library."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=special_tokens,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator(corpus, trainer)
    return bpe


def make_tokenizer() -> Any:
    """Byte-level BPE tokenizer with about 400 tokens and separate padding and EOS tokens."""
    from transformers import PreTrainedTokenizerFast

    return PreTrainedTokenizerFast(
        tokenizer_object=byte_level_bpe(CORPUS * 20, 400, ["<pad>", "<bos>", "<eos>"]),
        pad_token="<pad>",
        bos_token="<bos>",
        eos_token="<eos>",
        padding_side="left",
        chat_template=CHAT_TEMPLATE,
        clean_up_tokenization_spaces=False,
    )


@pytest.fixture(scope="session")
def tokenizer() -> Any:
    return make_tokenizer()


def tiny_config(tokenizer: Any, **changes: Any) -> Any:
    """Configuration of a Llama with two layers."""
    from transformers import LlamaConfig

    return LlamaConfig(
        **{
            "vocab_size": len(tokenizer),
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "max_position_embeddings": 256,
            "pad_token_id": tokenizer.pad_token_id,
            "bos_token_id": tokenizer.bos_token_id,
            "eos_token_id": tokenizer.eos_token_id,
            **changes,
        }
    )


@pytest.fixture
def make_policy(tokenizer: Any) -> Callable[..., Any]:
    """Makes a random policy; equal seeds give equal weights."""
    import torch
    from transformers import LlamaForCausalLM

    def make(seed: int = 0, **changes: Any) -> Any:
        torch.manual_seed(seed)
        return LlamaForCausalLM(tiny_config(tokenizer, **changes))

    return make


@pytest.fixture
def make_classifier(tokenizer: Any) -> Callable[..., Any]:
    """Makes a random reward or value model with one output."""
    import torch
    from transformers import LlamaForSequenceClassification

    def make(seed: int = 1, **changes: Any) -> Any:
        torch.manual_seed(seed)
        return LlamaForSequenceClassification(tiny_config(tokenizer, num_labels=1, **changes))

    return make


@pytest.fixture
def problems() -> list[Any]:
    return sign_problems()


def sign_problems() -> list[Any]:
    """Eight problems with a solution of four conditional statements each."""
    from stepcoder_trl.data.problems import Problem

    return [
        Problem(
            task_id=f"sign/{number}",
            prompt=f"Write sign number {number}.\n",
            starter_code="def sign(x):\n",
            canonical_solution=SIGN,
            tests={"type": "call", "fn_name": "sign", "inputs": [[5], [-2], [0]], "outputs": [1, -1, 0]},
        )
        for number in range(8)
    ]


@pytest.fixture(scope="session")
def executor() -> Iterator[Any]:
    """One sandbox with one worker for all tests."""
    from stepcoder_trl.executor import CodeExecutor, ExecutorConfig

    with CodeExecutor(ExecutorConfig(num_workers=1, timeout_s=2.0)) as shared:
        yield shared
