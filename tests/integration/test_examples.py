"""Test that the commands in the docstrings of the examples print the documented lines."""

from __future__ import annotations

import ast
import re
import runpy
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import torch


pytestmark = pytest.mark.sandbox

ROOT = Path(__file__).parents[2]


def indented_blocks(name):
    """Return the commands and outputs in the docstring of an example, each command as one line."""
    text = ast.get_docstring(ast.parse((ROOT / "examples" / name).read_text(encoding="utf-8"))) or ""
    return re.findall(r"(?:^    .*\n?)+", text.replace("\\\n", ""), re.MULTILINE)


def documented_run(name):
    """Return the documented command of an example, without `python`, and the documented last lines."""
    blocks = indented_blocks(name)
    commands = (line.strip() for block in blocks for line in block.splitlines())
    command = next(line for line in commands if line.startswith(f"python examples/{name}"))
    return shlex.split(command)[1:], [line[4:] for line in blocks[-1].splitlines()]


def printed_by(command, places, monkeypatch, capsys):
    """Run an example in the folders of the test and return the printed lines."""
    arguments = [places.get(word, word) for word in command]
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr("sys.argv", arguments)
    runpy.run_path(arguments[0], run_name="__main__")
    output = capsys.readouterr().out
    for shown, real in places.items():
        output = output.replace(real, shown)
    return output.splitlines()


@pytest.mark.parametrize("name", ["custom_reward.py", "evaluate.py", "refine_apps.py"])
def test_data_examples_print_documented_lines(name, tmp_path, monkeypatch, capsys):
    command, last_lines = documented_run(name)

    lines = printed_by(command, {"runs/apps_plus": str(tmp_path / "out")}, monkeypatch, capsys)

    assert lines == last_lines


@pytest.mark.parametrize("name", ["evaluate.py", "refine_apps.py", "trl_grpo_remote.py"])
def test_help_shows_the_command_without_heavy_imports(name):
    code = f"import sys, runpy; sys.argv = [{name!r}, '--help']; sys.modules['torch'] = None; "
    code += f"runpy.run_path({str(ROOT / 'examples' / name)!r}, run_name='__main__')"

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)

    assert f"python examples/{name} " in done.stdout
    assert "positional arguments:" in done.stdout


SMALL = {
    "sft.py": ["--gradient_checkpointing", "false"],
    "ppo.py": [
        *("--per_device_train_batch_size", "2", "--gradient_accumulation_steps", "2", "--num_generations", "2"),
        *("--response_length", "8", "--max_steps", "1", "--prompt_style", "plain", "--lora_r", "2"),
        *("--bf16", "false", "--gradient_checkpointing", "false", "--disable_tqdm", "true"),
    ],
}


@pytest.mark.filterwarnings("ignore:.*is deprecated and will be removed in v6.*:FutureWarning")  # TRL's own settings
@pytest.mark.parametrize("name", SMALL)
def test_training_examples_print_documented_lines(name, tmp_path, monkeypatch, capsys, make_policy, tokenizer):
    make_policy().save_pretrained(tmp_path / "model")
    tokenizer.save_pretrained(tmp_path / "model")
    command, last_lines = documented_run(name)
    model, out = command[command.index("--model_name_or_path") + 1], command[command.index("--output_dir") + 1]
    places = {model: str(tmp_path / "model"), out: str(tmp_path / "out")}
    places["problems.jsonl"] = "examples/data/problems.jsonl"

    lines = printed_by([*command, *SMALL[name], "--use_cpu", "--report_to", "none"], places, monkeypatch, capsys)

    assert lines[-len(last_lines) :] == last_lines
    assert list((tmp_path / "out").glob("*model.safetensors"))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*(gradient|activation)_checkpointing:FutureWarning")  # TRL's own settings
def test_grpo_example_prints_pass_rates(tmp_path, monkeypatch, capsys):
    command, last_lines = documented_run("grpo.py")
    short = ["--updates", "2", "--sft_steps", "8", "--held_out", "4"]

    lines = printed_by([*command, *short], {"runs/grpo": str(tmp_path / "out")}, monkeypatch, capsys)

    without_numbers = [line.rpartition(":")[0] for line in last_lines]
    assert [line.rpartition(":")[0] for line in lines[-2:]] == without_numbers
    assert (tmp_path / "out" / "stepcoder_state.json").exists()
    assert (tmp_path / "out" / "model.safetensors").exists()


def test_custom_trainer_example_prints_pass_rates(tmp_path, monkeypatch, capsys):
    command, last_lines = documented_run("custom_trainer.py")
    short, out = ["--updates", "1", "--sft_steps", "4"], tmp_path / "out"

    threads = torch.get_num_threads()
    try:
        lines = printed_by([*command, *short], {"runs/custom_trainer": str(out)}, monkeypatch, capsys)
    finally:
        torch.set_num_threads(threads)

    assert [re.sub(r"\d\.\d\d", "0.00", line) for line in lines[-2:]] == [
        re.sub(r"\d\.\d\d", "0.00", line) for line in last_lines
    ]
    assert (out / "adapter_model.safetensors").exists()


@pytest.mark.parametrize("path", sorted((ROOT / "examples").glob("*.py")), ids=lambda path: path.name)
def test_example_is_short(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) < 120


def test_example_problems_are_solved_by_their_solutions(executor):
    from stepcoder_trl import load_problems

    for problem in load_problems(ROOT / "examples" / "data" / "problems.jsonl"):
        assert executor.run(problem.canonical_solution, problem.tests).outcome == "passed", problem.task_id
