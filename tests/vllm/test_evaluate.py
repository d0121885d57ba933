"""`stepcoder-trl evaluate --engine vllm` with a real vLLM."""

from __future__ import annotations

import json

import pytest

from stepcoder_trl.cli.main import main
from stepcoder_trl.jsonl import read_rows


pytestmark = pytest.mark.timeout(1800)  # a slow machine starts the engine in minutes


@pytest.mark.parametrize("style", ["plain", "chat"])
def test_vllm_writes_what_transformers_writes(model_folder, problem_file, tmp_path, style):
    completions = {}
    for engine in ("transformers", "vllm"):
        out = tmp_path / engine
        flags = ["--engine", engine, "--temperature", "0", "--dtype", "float32", "--max-new-tokens", "12"]
        files = ["--problems", problem_file, "--model", model_folder, "--out", str(out), "--prompt-style", style]

        with pytest.raises(SystemExit) as stop:
            main(["evaluate", *files, *flags])
        assert stop.value.code == 0

        completions[engine] = [row.text("completion") for row in read_rows(out / "samples.jsonl")]
        assert json.loads((out / "summary.json").read_text())["samples"] == 8

    assert completions["vllm"] == completions["transformers"]
    assert len(completions["vllm"]) == 8
    assert all(completions["vllm"])
