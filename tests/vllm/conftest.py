"""Settings with which vLLM runs on a CPU in the process of the tests, and a model that it can load."""

from __future__ import annotations

import os
from typing import Any

import pytest

from tests.conftest import sign_problems, tiny_config


os.environ.update(
    VLLM_CPU_KVCACHE_SPACE="1",
    VLLM_CPU_OMP_THREADS_BIND="nobind",
    VLLM_ENABLE_V1_MULTIPROCESSING="0",
    VLLM_LOGGING_LEVEL="WARNING",
)


def pytest_configure(config: Any) -> None:
    config.addinivalue_line("filterwarnings", "ignore")  # those of vLLM are not ours


@pytest.fixture(scope="session", autouse=True)
def reloadable_weights() -> None:
    """
    Let layers on the CPU keep their weights as they were loaded.

    The CPU backend packs them into another format, after which they cannot be loaded again: the weights of the trainer
    could not be sent. GPUs do not pack.
    """
    import torch
    import vllm.model_executor.layers.utils as layers

    def keep_loadable(layer: Any, remove_weight: bool) -> None:
        layer.cpu_linear = lambda x, weight, bias: torch.nn.functional.linear(x, layer.weight, bias)

    layers.dispatch_cpu_unquantized_gemm = keep_loadable


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory: Any, tokenizer: Any) -> str:
    """Folder of a random Llama with its tokenizer. vLLM wants at least 32 numbers per attention head."""
    import torch
    from transformers import LlamaForCausalLM

    folder = tmp_path_factory.mktemp("model")
    torch.manual_seed(0)
    LlamaForCausalLM(tiny_config(tokenizer, hidden_size=64, num_attention_heads=2)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="session")
def problem_file(tmp_path_factory: Any) -> str:
    """File of eight problems."""
    from stepcoder_trl.jsonl import write_rows

    path = tmp_path_factory.mktemp("problems") / "problems.jsonl"
    write_rows(path, (problem.to_row() for problem in sign_problems()))
    return str(path)
