"""PPO with vLLM in the trainer's process: it samples with the weights that the trainer computes with."""

from __future__ import annotations

import pytest
import torch
from transformers import AutoModelForCausalLM

from stepcoder_trl import StepCoderPPOConfig, StepCoderPPOTrainer
from tests.conftest import SMALL_RUN


pytestmark = pytest.mark.timeout(1800)  # a slow machine starts the engine in minutes


def test_colocated_vllm_has_the_weights_and_the_prompts_of_the_trainer(
    model_folder, tokenizer, problems, executor, tmp_path
):
    args = StepCoderPPOConfig(
        str(tmp_path),
        **{**SMALL_RUN, "learning_rate": 3e-2, "lr_scheduler_type": "constant", "max_steps": 3},
        save_strategy="no",
        top_p=1.0,
        use_vllm=True,
        vllm_max_model_length=128,
    )
    model = AutoModelForCausalLM.from_pretrained(model_folder, dtype=torch.float32)
    trainer = StepCoderPPOTrainer(
        args, tokenizer, model, train_dataset=problems, eval_dataset=problems[:2], executor=executor
    )
    updates, sampled = [], []
    trainer.on_update = updates.append
    engine = trainer.generate.engine
    generate = engine.generate

    def watched(**keywords):
        sampled.append(generate(**keywords))
        return sampled[-1]

    engine.generate = watched

    trainer.train()

    assert len(updates) == len(sampled) == 3
    farthest = []
    for update, (prompts, _, log_probs, _) in zip(updates, sampled, strict=True):
        assert [list(ids) for ids in prompts] == [list(start.query.token_ids) for start in update.rollout.starts]
        lengths = update.rollout.generation.lengths.tolist()
        rows = zip(update.tokens.log_probs, lengths, log_probs, strict=True)
        ratios = [(own[:length] - torch.tensor(theirs)[:length, 0]).exp() for own, length, theirs in rows]
        farthest.append((torch.cat(ratios) - 1).abs().max().item())
    drift = (updates[-1].tokens.ref_log_probs - updates[-1].tokens.log_probs).abs().max().item()
    print("largest difference of a ratio to 1:", farthest, "log-probabilities of the start differ by", drift)
    assert max(farthest) < 0.02
    assert drift > 0.02

    metrics = trainer.evaluate()
    assert metrics["eval_pass@1"] == 0.0
    assert len(sampled) == 4
