"""Short run of the complete quickstart."""

import json

import pytest
import torch
from rich.console import Console

from stepcoder_trl.quickstart.run import run_quickstart
from stepcoder_trl.quickstart.settings import QuickstartConfig, Sizes


@pytest.mark.slow
@pytest.mark.sandbox
@pytest.mark.parametrize(("trainer", "heading"), [("ppo", "StepCoder PPO"), ("grpo", "StepCoder on GRPO")])
@pytest.mark.filterwarnings("ignore:.*(gradient|activation)_checkpointing:FutureWarning")  # TRL's own settings
def test_smoke_run_writes_all_files(tmp_path, trainer, heading):
    out, threads = tmp_path / "run", torch.get_num_threads()
    console = Console(file=open(tmp_path / "console.txt", "w+", encoding="utf-8"), width=100)  # noqa: SIM115
    sizes = Sizes(sft_steps=12, updates=2, problems=4, heldout=6, prompts_per_update=2, num_generations=3)

    with console.file:
        summary = run_quickstart(QuickstartConfig(out=str(out), seed=5, trainer=trainer, sizes=sizes), console)
    shown = (tmp_path / "console.txt").read_text()

    assert json.loads((out / "summary.json").read_text()) == json.loads(json.dumps(summary))
    assert set(summary["pass_at_1_before"]) == set(summary["pass_at_1_after"]) == {"train", "heldout"}
    assert summary["seed"] == 5
    assert summary["num_problems"] == {"train": 4, "heldout": 6}
    assert summary["infrastructure_errors"] == 0
    assert summary["completions"] == 12
    assert summary["seconds"] > 0
    assert summary["settings"]["sizes"]["updates"] == 2
    points = [json.loads(line) for line in (out / "curves.jsonl").read_text().splitlines()]
    assert [point["phase"] for point in points] == ["sft"] * 12 + ["evaluation"] + [trainer] * 2 + ["evaluation"]
    stages = [json.loads(line) for line in (out / "stages.jsonl").read_text().splitlines()]
    assert [row["update"] for row in stages] == [0, 1, 2]
    assert all(sum(row["problems_at_stage"].values()) == 4 for row in stages)
    assert "<article>" in (out / "rollouts.html").read_text()
    rollouts = [json.loads(line) for line in (out / "rollouts.jsonl").read_text().splitlines()]
    assert len(rollouts) == 12
    assert {row["update"] for row in rollouts} == {"first", "last"}
    assert (out / "policy" / "model.safetensors").exists()
    assert (out / "sft" / "tokenizer.json").exists()
    for title in ("Generated problems", "Supervised fine-tuning", "Before", heading, "After", "scratch"):
        assert title in shown
    assert torch.get_num_threads() == threads
