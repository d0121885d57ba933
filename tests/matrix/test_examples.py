"""
The commands that stand in the docstrings of examples/, word for word, on a tiny model and a few problems.

What is changed: fewer processes, both machines are this one, and at the end flags that make a run short.
"""

from __future__ import annotations

import ast
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.conftest import SIGN, sign_problems, tiny_config
from tests.matrix.test_processes import ENVIRONMENT, HAS_DEEPSPEED, REASON, ROOT, TIMEOUT_S, free_port


pytestmark = [pytest.mark.sandbox, pytest.mark.slow, pytest.mark.timeout(2 * TIMEOUT_S)]

SHORT = ["--max_steps", "1", "--report_to", "none", "--save_strategy", "no"]
SHORT_PPO = [*SHORT, "--response_length", "16", "--logging_steps", "1", "--num_generations", "2"]
PROGRAMS = {"python": [sys.executable], "accelerate": [sys.executable, "-m", "accelerate.commands.accelerate_cli"]}


def commands(example: str) -> list[list[str]]:
    """Commands in the docstring of an example, as words."""
    text = ast.get_docstring(ast.parse((ROOT / "examples" / example).read_text(encoding="utf-8")))
    blocks = re.findall(r"(?:^    .*\n?)+", text.replace("\\\n", ""), re.MULTILINE)
    found = [shlex.split(line) for block in blocks for line in block.splitlines()]
    return [words for words in found if words[:1] in (["python"], ["accelerate"])]


def write_rows(path: Path, rows: list[dict]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.fixture(scope="module")
def place(tmp_path_factory, tokenizer):
    """Working directory where everything lies that the commands name."""
    from transformers import LlamaForCausalLM

    place = tmp_path_factory.mktemp("examples")
    for name in ("examples", "stepcoder_trl"):
        (place / name).symlink_to(ROOT / name)
    torch.manual_seed(0)
    models = ["deepseek-ai/deepseek-coder-1.3b-instruct", "deepseek-ai/deepseek-coder-6.7b-instruct"]
    for name in (*models, "smollm2", "MODEL"):
        LlamaForCausalLM(tiny_config(tokenizer, max_position_embeddings=2048)).save_pretrained(place / name)
        tokenizer.save_pretrained(place / name)
    rows = [problem.to_row() for problem in sign_problems() * 16]
    rows = [{**row, "task_id": f"sign/{number}"} for number, row in enumerate(rows)]
    write_rows(place / "problems.jsonl", rows)
    write_rows(place / "apps_plus" / "problems.jsonl", rows)
    mbpp = {"text": "Write sign.", "code": SIGN, "test_setup_code": "", "challenge_test_list": []}
    tests = ["assert sign(5) == 1", "assert sign(-2) == -1"]
    write_rows(place / "mbpp.jsonl", [{**mbpp, "task_id": n, "test_list": tests} for n in range(601, 609)])
    human_eval = {"task_id": "HumanEval/0", "prompt": "def one():\n", "entry_point": "one"}
    body = {"canonical_solution": "    return 1\n", "test": "def check(candidate):\n    assert candidate() == 1\n"}
    write_rows(place / "humaneval.jsonl", [{**human_eval, **body}])
    write_rows(place / "samples.jsonl", [{"task_id": "HumanEval/0", "completion": "    return 1\n"}])
    apps = {"inputs": ["3\n", "4\n"], "outputs": ["6\n", "8\n"]}
    folder = place / "APPS" / "train" / "0000"
    folder.mkdir(parents=True)
    (folder / "question.txt").write_text("Read a number and print its double.")
    (folder / "solutions.json").write_text(json.dumps(["print(2 * int(input()))\n"]))
    (folder / "input_output.json").write_text(json.dumps(apps))
    (folder / "metadata.json").write_text(json.dumps({"difficulty": "introductory"}))
    return place


def start(place: Path, words: list[str], *more: str) -> subprocess.Popen:
    return subprocess.Popen(
        [*PROGRAMS[words[0]], *words[1:], *more],
        cwd=place,
        env={**ENVIRONMENT, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finished(process: subprocess.Popen) -> list[str]:
    """Lines that a command printed, after it has ended well."""
    out, err = process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == 0, out[-3000:] + err[-6000:]
    return out.splitlines()


def with_value(words: list[str], flag: str, value: str) -> list[str]:
    place = words.index(flag) + 1
    return [*words[:place], value, *words[place + 1 :]]


def test_one_gpu(place):
    one, _, _ = commands("ppo.py")

    lines = finished(start(place, one, *SHORT_PPO))

    assert lines[-1] == "saved to runs/lora"
    assert (place / "runs" / "lora" / "adapter_model.safetensors").exists()


def test_the_gpus_of_a_machine(place):
    if not HAS_DEEPSPEED:
        pytest.skip(REASON)
    _, eight, _ = commands("ppo.py")
    words = with_value(eight, "--num_processes", "2")
    words[2:2] = ["--main_process_port", str(free_port())]

    lines = finished(start(place, words, *SHORT_PPO))

    assert [line for line in lines if line.startswith("saved")] == ["saved to runs/zero3"]
    assert (place / "runs" / "zero3" / "model.safetensors").exists()


def test_two_machines(place):
    if not HAS_DEEPSPEED:
        pytest.skip(REASON)
    _, _, nodes = commands("ppo.py")
    words = with_value(nodes, "--num_processes", "2")
    words = with_value(words, "--main_process_ip", "127.0.0.1")
    words = with_value(words, "--main_process_port", str(free_port()))
    words = with_value(words, "--output_dir", str(place / "runs" / "nodes"))

    machines = [start(place, with_value(words, "--machine_rank", rank), *SHORT_PPO) for rank in ("0", "1")]

    said = [[line for line in finished(one) if line.startswith("saved")] for one in machines]
    assert said == [[f"saved to {place / 'runs' / 'nodes'}"], []]
    assert (place / "runs" / "nodes" / "model.safetensors").exists()


def test_sft(place):
    (words,) = commands("sft.py")

    finished(start(place, words, *SHORT))

    assert (place / "runs" / "sft" / "model.safetensors").exists()


def test_mbpp(place):
    (words,) = commands("ppo_mbpp.py")

    lines = finished(start(place, words, *SHORT_PPO))

    assert lines[-2] == "saved to runs/mbpp"
    assert re.fullmatch(r"problems from scratch: \d+%", lines[-1])


def test_evaluate(place):
    (words,) = commands("evaluate.py")

    assert json.loads("\n".join(finished(start(place, words))))["pass@1"]["value"] == 1.0


def test_refine_apps(place):
    (words,) = commands("refine_apps.py")

    assert finished(start(place, words))[0] == "1 of 1 rows kept"


def test_every_example_is_run():
    run = Path(__file__).read_text(encoding="utf-8")

    for path in (ROOT / "examples").glob("*.py"):
        assert f'commands("{path.name}")' in run
        assert commands(path.name)
