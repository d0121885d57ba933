"""The story: settings, run directory, and one smoke run of all of it."""

import json

import pytest
import torch
from rich.console import Console

from stepcoder_trl import CodeExecutor, load_problems
from stepcoder_trl.errors import BadInputError
from stepcoder_trl.quickstart.run import (
    FAST,
    FULL,
    PROBLEMS,
    QuickstartConfig,
    Sizes,
    new_run_directory,
    ppo_config,
    run_quickstart,
    telling,
)
from stepcoder_trl.reports import RolloutView


def rollout(task_id, loss_mask):
    tokens = ("x",) * len(loss_mask)
    return RolloutView(task_id, "", "", tokens, tuple(loss_mask), "passed", 1.0, 0, 1, 1)


def test_existing_run_is_not_overwritten(tmp_path):
    (tmp_path / "summary.json").write_text("{}")

    with pytest.raises(BadInputError, match="exists already"):
        new_run_directory(str(tmp_path))


def test_empty_directory_is_used(tmp_path):
    assert new_run_directory(str(tmp_path)) == tmp_path


def test_file_in_the_place_of_the_run_directory_is_named(tmp_path):
    (tmp_path / "file").write_text("")

    for path in (tmp_path / "file", tmp_path / "file" / "run"):
        with pytest.raises(BadInputError, match="`--out`"):
            new_run_directory(str(path))


@pytest.mark.parametrize(
    ("changes", "named"),
    [({"updates": 0}, "`updates` is 0"), ({"prompts_per_update": 99}, "`prompts_per_update` is 99")],
)
def test_impossible_sizes_are_bad_input(changes, named):
    with pytest.raises(BadInputError, match=named):
        Sizes(**changes)


@pytest.mark.parametrize("sizes", [FULL, FAST, Sizes(prompts_per_update=3, num_generations=5)])
def test_an_update_has_all_completions(sizes, tmp_path):
    args = ppo_config(QuickstartConfig(sizes=sizes), str(tmp_path), response_length=50)

    completions = sizes.prompts_per_update * sizes.num_generations
    assert args.per_device_train_batch_size * args.gradient_accumulation_steps == completions
    assert args.max_steps == sizes.updates


def test_training_gets_the_paper_s_curriculum_and_mask(tmp_path):
    args = ppo_config(QuickstartConfig(), str(tmp_path), response_length=50)

    assert (args.curriculum, args.fgo) == ("paper", "lines")


def test_rollouts_shown_are_of_different_problems_most_masked_first():
    rollouts = [rollout("a", [True, True]), rollout("b", [True, False]), rollout("a", [False, False])]

    assert telling(rollouts, most=2) == [rollouts[2], rollouts[1]]
    assert telling(rollouts, most=1) == [rollouts[2]]


@pytest.mark.slow
@pytest.mark.sandbox
def test_smoke_run_writes_the_whole_story(tmp_path):
    out, threads = tmp_path / "run", torch.get_num_threads()
    console = Console(file=open(tmp_path / "told.txt", "w+", encoding="utf-8"), width=100)  # noqa: SIM115
    sizes = Sizes(sft_steps=12, updates=2, problems=4, heldout=6, prompts_per_update=2, num_generations=3)

    with console.file:
        summary = run_quickstart(QuickstartConfig(out=str(out), seed=5, sizes=sizes), console)
    told = (tmp_path / "told.txt").read_text()

    assert json.loads((out / "summary.json").read_text()) == json.loads(json.dumps(summary))
    assert set(summary["pass_at_1_before"]) == set(summary["pass_at_1_after"]) == {"train", "heldout"}
    assert summary["seed"] == 5
    assert summary["num_problems"] == {"train": 4, "heldout": 6}
    assert summary["infrastructure_errors"] == 0
    assert summary["completions"] == 12
    assert summary["seconds"] > 0
    assert summary["settings"]["sizes"]["updates"] == 2
    points = [json.loads(line) for line in (out / "curves.jsonl").read_text().splitlines()]
    assert [point["phase"] for point in points] == ["sft"] * 12 + ["evaluation"] + ["ppo"] * 2 + ["evaluation"]
    stages = [json.loads(line) for line in (out / "stages.jsonl").read_text().splitlines()]
    assert [row["update"] for row in stages] == [0, 1, 2]
    assert all(sum(row["problems_at_stage"].values()) == 4 for row in stages)
    assert "<article>" in (out / "rollouts.html").read_text()
    rollouts = [json.loads(line) for line in (out / "rollouts.jsonl").read_text().splitlines()]
    assert len(rollouts) == 12
    assert {row["update"] for row in rollouts} == {"first", "last"}
    assert (out / "policy" / "model.safetensors").exists()
    assert (out / "sft" / "tokenizer.json").exists()
    for chapter in ("A family of problems", "Supervised fine-tuning", "Before", "StepCoder PPO", "After", "scratch"):
        assert chapter in told
    assert torch.get_num_threads() == threads


@pytest.mark.sandbox
def test_written_problems_are_read_back_and_solved_by_their_solutions(tmp_path):
    from stepcoder_trl.quickstart.problems import synthetic_problems

    path = tmp_path / "problems.jsonl"
    path.write_text("".join(json.dumps(one.to_row()) + "\n" for one in synthetic_problems(5, 0, PROBLEMS)))

    problems = load_problems(str(path))
    with CodeExecutor() as executor:
        executions = executor.run_many([one.canonical_solution for one in problems], [one.tests for one in problems])

    assert [execution.outcome for execution in executions] == ["passed"] * 5
