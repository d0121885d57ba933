"""Page and cards that runs leave: PPO, GRPO and supervised fine-tuning, and the merged export."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from huggingface_hub import ModelCard
from transformers import AutoModelForCausalLM

from stepcoder_trl.cli.main import main
from stepcoder_trl.reports.run_facts import read_facts
from stepcoder_trl.reports.run_record import read_record
from tests.integration.helpers import BRANCH, RIGHT, UNPARSABLE, WRONG
from tests.unit.reports.test_html import Page


pytestmark = [
    pytest.mark.sandbox,
    # PEFT and TRL read an attribute that transformers 5.23 renames.
    pytest.mark.filterwarnings("ignore:.*gradient_checkpointing:FutureWarning"),
]
SMALL_FLAGS = [
    *("--per_device_train_batch_size", "2", "--gradient_accumulation_steps", "2", "--num_generations", "2"),
    *("--max_steps", "1", "--use_cpu", "--bf16", "false", "--report_to", "none", "--disable_tqdm", "true"),
    *("--gradient_checkpointing", "false", "--executor_workers", "1", "--logging_steps", "1"),
]


def rollouts_of(folder):
    page = Page((Path(folder) / "report.html").read_text())
    return [attributes for _, attributes in page.attributes if attributes.get("class") == "rollout"]


def test_ppo_leaves_a_page_with_its_rollouts(make_trainer, script):
    script(RIGHT, WRONG, BRANCH, UNPARSABLE)
    trainer = make_trainer(max_steps=2)

    trainer.train()

    shown = rollouts_of(trainer.args.output_dir)
    assert [one["data-update"] for one in shown] == ["2"] * 4 + ["1"] * 4
    assert {one["data-outcome"] for one in shown} == {"passed", "failed", "compile_error"}
    record = read_record(trainer.args.output_dir)
    assert [one.update for one in record.updates] == [1, 2]
    assert sum(record.updates[0].stages.values()) == len(trainer.rows)
    wrong = next(view for _, view in record.rollouts if view.outcome == "failed")
    assert "but expected" in wrong.failing_test.message
    assert wrong.failing_test.expected or wrong.failing_test.input
    assert wrong.executed_lines
    assert wrong.solution.startswith("def sign(x):")


def test_resumed_run_goes_on_with_its_record(make_trainer, script):
    script(RIGHT, WRONG)
    make_trainer(max_steps=2, save_strategy="steps", save_steps=1).train()
    trainer = make_trainer(max_steps=3)

    trainer.train(resume_from_checkpoint=f"{trainer.args.output_dir}/checkpoint-1")

    assert [one.update for one in read_record(trainer.args.output_dir).updates] == [1, 2, 3]


def test_grpo_leaves_page_and_card(tokenizer, make_policy, problems, executor, tmp_path):
    from stepcoder_trl.trainer.grpo_config import StepCoderGRPOConfig
    from stepcoder_trl.trainer.grpo_trainer import StepCoderGRPOTrainer
    from tests.integration.grpo.helpers import SMALL

    args = StepCoderGRPOConfig(**{**SMALL, "output_dir": str(tmp_path / "run"), "max_steps": 2, "save_strategy": "no"})
    trainer = StepCoderGRPOTrainer(
        model=make_policy(), args=args, train_dataset=problems, processing_class=tokenizer, executor=executor
    )

    trainer.train()
    trainer.save_model()

    assert {one["data-update"] for one in rollouts_of(args.output_dir)} == {"1", "2"}
    card = ModelCard.load(tmp_path / "run" / "README.md")
    assert "grpo" in card.data.tags
    assert "weight 1: each program is run against the tests" in card.text
    facts = read_facts(args.output_dir)
    assert (facts.method, facts.update, facts.num_updates) == ("grpo", 2, 2)
    assert facts.episodes == 2 * args.per_device_train_batch_size * args.gradient_accumulation_steps


@pytest.fixture
def files(make_policy, tokenizer, problems, tmp_path):
    """Flags that name a file of problems and a model folder."""
    make_policy().save_pretrained(tmp_path / "model")
    tokenizer.save_pretrained(tmp_path / "model")
    path = tmp_path / "problems.jsonl"
    path.write_text("".join(json.dumps(problem.to_row()) + "\n" for problem in problems))
    return ["--problems", str(path), "--model_name_or_path", str(tmp_path / "model")]


def run(*arguments):
    with pytest.raises(SystemExit) as stop:
        main(list(map(str, arguments)))
    return stop.value.code


def test_sft_leaves_true_cards_and_a_merged_model(files, tmp_path):
    flags = ["--max_steps", "1", "--use_cpu", "--report_to", "none", "--disable_tqdm", "true", "--logging_steps", "1"]
    flags += [
        "--per_device_train_batch_size",
        "2",
        "--gradient_accumulation_steps",
        "1",
        "--use_peft",
        "--lora_r",
        "2",
    ]
    flags += ["--save_steps", "1", "--max_length", "128"]

    assert run("sft", *files, "--output_dir", tmp_path / "run", *flags, "--merge_adapter") == 0

    out = tmp_path / "run"
    for folder in (out, out / "checkpoint-1", out / "merged"):
        card = ModelCard.load(folder / "README.md")
        assert "fine-tuned on canonical solutions" in card.text
        assert "Base model: `model`" in card.text
        assert "`problems.jsonl`" in card.text
        assert "More Information Needed" not in card.content
    assert "| `learning_rate` |" not in card.text  # nobody set it
    assert card.data.library_name == "transformers"
    merged = AutoModelForCausalLM.from_pretrained(out / "merged")
    base = AutoModelForCausalLM.from_pretrained(tmp_path / "model")
    assert merged.state_dict().keys() == base.state_dict().keys()
    assert "Supervised fine-tuning" in (out / "report.html").read_text()

    flags = ["--out", tmp_path / "evaluation", "--max-new-tokens", "4", "--max-problems", "1", "--workers", "1"]
    assert run("evaluate", "--model", out, *files[:2], *flags) == 0

    sampling = "1 sample per problem, temperature 0.2, top-p 0.95, at most 4 tokens"
    for name in ("README.md", "report.html"):
        assert "problems.jsonl, first 1 problems" in (out / name).read_text()
        assert sampling in (out / name).read_text()


def test_merged_model_of_ppo_computes_what_the_adapter_does(files, tmp_path):
    from peft import AutoPeftModelForCausalLM

    flags = ["--use_peft", "--lora_r", "2", "--learning_rate", "0.05", "--response_length", "8", "--merge_adapter"]

    assert run("ppo", *files, "--output_dir", tmp_path / "run", *SMALL_FLAGS, *flags) == 0

    ids = torch.tensor([[5, 6, 7]])
    merged = AutoModelForCausalLM.from_pretrained(tmp_path / "run" / "merged")
    adapted = AutoPeftModelForCausalLM.from_pretrained(tmp_path / "run")
    base = AutoModelForCausalLM.from_pretrained(tmp_path / "model")
    with torch.no_grad():
        expected, got, before = (model(ids).logits for model in (adapted, merged, base))
    assert torch.allclose(expected, got, atol=1e-5)
    assert read_facts(tmp_path / "run" / "merged").model_name == "run/merged"
    assert not read_facts(tmp_path / "run" / "merged").adapter
    assert before.shape == got.shape


def test_merging_without_an_adapter_is_one_error(files, tmp_path, capsys):
    assert run("ppo", *files, "--output_dir", tmp_path / "run", *SMALL_FLAGS, "--merge_adapter") == 2

    assert "`merge_adapter` is set, but no adapter is trained" in capsys.readouterr().err
