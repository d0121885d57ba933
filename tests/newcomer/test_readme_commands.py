"""The commands of the README's "Your own problems", to the letter, with a tiny model in the place of `MODEL`."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest


pytestmark = [pytest.mark.sandbox, pytest.mark.slow, pytest.mark.timeout(900)]
README = Path(__file__).parents[2] / "README.md"
SECTION = README.read_text(encoding="utf-8").partition("## Your own problems")[2].partition("\n## ")[0]


def block(language: str) -> str:
    """Return the code block of the section in a language."""
    (found,) = re.findall(rf"^```{language}\n(.*?)^```", SECTION, re.MULTILINE | re.DOTALL)
    return found


def commands() -> list[list[str]]:
    return [line.partition("#")[0].split() for line in block("bash").splitlines()]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Directory that holds the problems of the README and a tiny model, and nothing else."""
    from transformers import LlamaForCausalLM

    from tests.conftest import make_tokenizer, tiny_config

    folder = tmp_path_factory.mktemp("newcomer")
    for name in ("mine.jsonl", "heldout.jsonl"):
        (folder / name).write_text(block("json"), encoding="utf-8")
    tokenizer = make_tokenizer()
    tokenizer.save_pretrained(folder / "MODEL")
    LlamaForCausalLM(tiny_config(tokenizer, max_position_embeddings=2048)).save_pretrained(folder / "MODEL")
    return folder


def run(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "stepcoder_trl", *words]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def test_each_command_of_the_readme_works_in_turn(folder):
    for program, *words in commands():
        assert program == "stepcoder-trl"
        done = run(folder, *words)
        assert done.returncode == 0, (words, done.stdout[-3000:], done.stderr[-3000:])
        assert "Traceback" not in done.stderr

    assert (folder / "run" / "model.safetensors").exists()
    assert (folder / "run" / "README.md").exists()
    assert list((folder / "run").glob("*.html"))
    assert list(folder.glob("runs/evaluate/run-*/summary.json"))
