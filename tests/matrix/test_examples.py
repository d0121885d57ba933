"""
Runs the commands in the docstrings of the examples that train in several processes or on MBPP.

The commands run with fewer processes, on one machine, and with more flags that make them short. The commands of the
other examples are run by tests/integration/test_examples.py.
"""

from __future__ import annotations

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
from tests.integration.test_examples import indented_blocks
from tests.matrix.test_processes import COMPILE_S, ENVIRONMENT, ROOT, TIMEOUT_S, compile_operators, free_port


pytestmark = [pytest.mark.sandbox, pytest.mark.slow, pytest.mark.timeout(COMPILE_S + 2 * TIMEOUT_S)]

SHORT = ["--max_steps", "1", "--report_to", "none", "--save_strategy", "no"]
SHORT_PPO = [*SHORT, "--response_length", "16", "--logging_steps", "1", "--num_generations", "2"]
PROGRAMS = {"python": [sys.executable], "accelerate": [sys.executable, "-m", "accelerate.commands.accelerate_cli"]}


def commands(example: str) -> list[list[str]]:
    """Return the commands in the docstring of an example, split into words."""
    found = [shlex.split(block) for block in indented_blocks(example)]
    return [words for words in found if words[0] in PROGRAMS]


@pytest.fixture(scope="module")
def place(tmp_path_factory, tokenizer):
    """Working directory with all files that the commands name."""
    from transformers import LlamaForCausalLM

    place = tmp_path_factory.mktemp("examples")
    for name in ("examples", "stepcoder_trl"):
        (place / name).symlink_to(ROOT / name)
    torch.manual_seed(0)
    model = LlamaForCausalLM(tiny_config(tokenizer, max_position_embeddings=2048))
    for name in ("deepseek-ai/deepseek-coder-6.7b-instruct", "smollm2", "MODEL"):
        model.save_pretrained(place / name)
        tokenizer.save_pretrained(place / name)
    rows = [{**problem.to_row(), "task_id": f"sign/{n}"} for n, problem in enumerate(sign_problems() * 16)]
    (place / "problems.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    tests = {"test_list": ["assert sign(5) == 1"], "test_setup_code": "", "challenge_test_list": []}
    rows = [{"text": "Write sign.", "code": SIGN, "task_id": number, **tests} for number in range(601, 609)]
    (place / "mbpp.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
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


def said(process: subprocess.Popen) -> list[str]:
    """Wait until a command succeeds. Return the lines that it printed itself."""
    out, err = process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == 0, out[-3000:] + err[-6000:]
    return [line for line in out.splitlines() if line.startswith(("saved to", "left out", "problems from"))]


def with_values(words: list[str], **values: str) -> list[str]:
    """Return the words with other values for some flags."""
    words = list(words)
    for name, value in values.items():
        words[words.index(f"--{name}") + 1] = value
    return words


def test_ppo_example_for_one_machine(place):
    compile_operators()
    _, eight, _ = commands("ppo.py")
    words = with_values(eight, num_processes="2")
    words[2:2] = ["--main_process_port", free_port()]

    assert said(start(place, words, *SHORT_PPO)) == ["saved to runs/zero3"]

    assert (place / "runs" / "zero3" / "model.safetensors").exists()


def test_ppo_example_for_two_machines(place):
    compile_operators()
    _, _, nodes = commands("ppo.py")
    out, port = str(place / "runs" / "nodes"), free_port()
    here = {"num_processes": "2", "main_process_ip": "127.0.0.1", "main_process_port": port, "output_dir": out}

    machines = [start(place, with_values(nodes, **here, machine_rank=rank), *SHORT_PPO) for rank in ("0", "1")]

    assert [said(one) for one in machines] == [[f"saved to {out}"], []]
    assert Path(out, "model.safetensors").exists()


def test_sft_example_in_two_processes(place):
    (words,) = commands("sft.py")
    ddp = ["--config_file", "stepcoder_trl/accelerate_configs/ddp.yaml", "--num_processes", "2"]
    launch = ["accelerate", "launch", *ddp, "--main_process_port", free_port(), *words[1:]]

    lines = said(start(place, with_values(launch, problems="problems.jsonl"), *SHORT, "--use_cpu"))

    assert lines == ["saved to runs/sft"]
    assert (place / "runs" / "sft" / "model.safetensors").exists()


def test_ppo_mbpp_example(place):
    (words,) = commands("ppo_mbpp.py")

    saved, scratch = said(start(place, words, *SHORT_PPO))

    assert saved == "saved to runs/mbpp"
    assert re.fullmatch(r"problems from scratch: \d+%", scratch)


def test_grpo_example_lifts_held_out_pass_rate(place):
    (words,) = commands("grpo.py")

    done = start(place, [*words, "--output_dir", "runs/grpo"])

    out, err = done.communicate(timeout=TIMEOUT_S)
    assert done.returncode == 0, out[-3000:] + err[-6000:]
    before, after = re.findall(r"^held-out pass@1 (?:before|after): (\d\.\d+)$", out, re.MULTILINE)
    assert float(before) < 0.1
    assert float(after) > float(before) + 0.4
