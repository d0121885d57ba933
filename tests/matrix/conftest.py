"""A small model and problems for runs in processes of their own."""

from __future__ import annotations

import json

import pytest

from tests.conftest import sign_problems, tiny_config


@pytest.fixture(scope="module")
def folder(tmp_path_factory, tokenizer):
    """Folder with a policy and eight problems."""
    import torch
    from transformers import LlamaForCausalLM

    folder = tmp_path_factory.mktemp("runs")
    torch.manual_seed(0)
    LlamaForCausalLM(tiny_config(tokenizer)).save_pretrained(folder / "model")
    tokenizer.save_pretrained(folder / "model")
    rows = [problem.to_row() for problem in sign_problems()]
    (folder / "problems.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder
