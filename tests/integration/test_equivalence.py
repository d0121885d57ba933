"""
A script for TRL's `PPOTrainer` runs with our trainer. Where upstream is correct, the numbers are equal.

Upstream is correct with one mini-batch, one learning rate for policy and critic, gradients that need no clipping,
completions that all have the same length (no EOS, no sampled padding token: D14, D15, D17 of
`upstream_defects`), and one process.
"""

from __future__ import annotations

import pytest
import torch
from transformers import AutoModelForCausalLM

from stepcoder_trl import StepCoderPPOConfig, StepCoderPPOTrainer
from tests.integration.helpers import logged
from tests.integration.upstream import (
    OPTIONS,
    models,
    needs_upstream,
    our_trainer,
    token_rows,
    train_upstream,
    upstream_trainer,
    upstreams_warnings,
)


SCRIPT = """
training_args = PPOConfig(
    output_dir=output_dir,
    **{**OPTIONS, "num_sample_generations": 10, "missing_eos_penalty": 1.0, "stop_token": "eos"},
)
trainer = PPOTrainer(
    args=training_args,
    processing_class=tokenizer,
    model=model,
    ref_model=ref_model,
    reward_model=reward_model,
    value_model=value_model,
    train_dataset=dataset,
    eval_dataset=dataset,
    peft_config=None,
)
trainer.train()
trainer.save_model(training_args.output_dir)
trainer.generate_completions()
"""


def run_script(script, tokenizer, output_dir, names):
    dataset = token_rows(tokenizer)
    given = {"OPTIONS": OPTIONS, "output_dir": str(output_dir), "tokenizer": tokenizer, "dataset": dataset}
    exec(script, {**given, **models(tokenizer), **names})


@needs_upstream
def test_script_runs_with_upstream(tokenizer, tmp_path, capsys):
    from trl.experimental.ppo import PPOConfig, PPOTrainer

    with upstreams_warnings():
        run_script(SCRIPT, tokenizer, tmp_path, {"PPOConfig": PPOConfig, "PPOTrainer": PPOTrainer})

    assert "model response" in capsys.readouterr().out


def test_script_for_upstream_runs_with_two_names_changed(tokenizer, tmp_path, capsys):
    script = SCRIPT.replace("PPOConfig", "StepCoderPPOConfig").replace("PPOTrainer", "StepCoderPPOTrainer")
    names = {"StepCoderPPOConfig": StepCoderPPOConfig, "StepCoderPPOTrainer": StepCoderPPOTrainer}

    run_script(script, tokenizer, tmp_path, names)

    assert "model response" in capsys.readouterr().out
    saved, start = AutoModelForCausalLM.from_pretrained(tmp_path), models(tokenizer)["model"]
    assert any(not torch.equal(p, start.get_parameter(name)) for name, p in saved.named_parameters())


# Upstream's `val/ratio_var` is the variance of micro-batch means; `eps` is a speed.
NOT_COMPARED = {"eps", "val/ratio_var"}


@needs_upstream
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"gradient_accumulation_steps": 1, "total_episodes": 6, "num_ppo_epochs": 4},
        {"kl_estimator": "k3", "kl_coef": 0.5},
        {"gamma": 0.9, "lam": 0.5, "vf_coef": 1.0, "cliprange": 0.01, "cliprange_value": 0.01},
        {"gradient_accumulation_steps": 4, "total_episodes": 24, "whiten_rewards": True},
        {"missing_eos_penalty": 0.5, "lr_scheduler_type": "cosine", "weight_decay": 0.1},
    ],
    ids=["plain", "one-micro-batch", "k3", "coefficients", "whitened-rewards", "penalty-and-decay"],
)
def test_three_updates_equal_upstream(tokenizer, tmp_path, options):
    start = models(tokenizer)
    forbidden = (tokenizer.pad_token_id, tokenizer.eos_token_id)
    one, two = models(tokenizer, forbidden), models(tokenizer, forbidden)

    ours = our_trainer(tokenizer, tmp_path, one, **options)
    ours.train()
    theirs = train_upstream(upstream_trainer(tokenizer, tmp_path, two, ours.drawn, **options))

    assert len(theirs.state.log_history) == 3
    for name in theirs.state.log_history[0].keys() - NOT_COMPARED:
        assert logged(ours, name) == pytest.approx(logged(theirs, name), rel=1e-4, abs=1e-6), name
    for part in ("model", "value_model"):
        for name, expected in two[part].named_parameters():
            distance = (one[part].get_parameter(name) - expected).norm()
            moved = (expected - start[part].get_parameter(name)).norm()
            assert moved > 0, name
            assert distance < 1e-4 * expected.norm(), name
            assert distance < 1e-3 * moved, name  # also small beside what training changed
