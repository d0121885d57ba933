"""GRPO with vLLM in the trainer's process: what it samples from, and with which weights."""

from __future__ import annotations

import copy

import pytest
import torch

from stepcoder_trl import StepCoderGRPOConfig, StepCoderGRPOTrainer, unit_test_reward
from tests.conftest import SIGN
from tests.integration.grpo.helpers import SMALL, letters
from tests.integration.helpers import log_probs, logged


pytestmark = pytest.mark.timeout(1800)  # a slow machine starts the engine in minutes


def test_colocated_vllm_has_the_weights_and_the_prompts_of_the_trainer(model_folder, problems, executor, tmp_path):
    args = StepCoderGRPOConfig(
        str(tmp_path),
        **{**SMALL, "learning_rate": 3e-2, "lr_scheduler_type": "constant", "max_steps": 3},
        save_strategy="no",
        use_vllm=True,
        vllm_max_model_length=128,
        vllm_importance_sampling_mode="token_truncate",
    )
    trainer = StepCoderGRPOTrainer(
        model_folder, [unit_test_reward, letters], args, train_dataset=problems, executor=executor
    )
    rounds, sampled = [], []
    trainer.on_round = rounds.append
    generate = trainer.vllm_generation.llm.generate

    def watched(prompts, **keywords):
        outputs = generate(prompts, **keywords)
        sampled.append(outputs)
        return outputs

    trainer.vllm_generation.llm.generate = watched
    start = copy.deepcopy(trainer.model)

    trainer.train()

    assert len(rounds) == len(sampled) == 3
    for this, outputs in zip(rounds, sampled, strict=True):
        assert [list(one.prompt_token_ids) for one in outputs] == this.query_ids
        prefixes = {start.row.task_id: start.query.prefix for start in this.starts}
        assert len(prefixes) == 2
        assert all(start.query.prefix == prefixes[start.row.task_id] for start in this.starts)
        assert all(SIGN.startswith(prefix) and "if" in prefix for prefix in prefixes.values())
    ratios = torch.cat([this.result["importance_sampling_ratio"].flatten() for this in rounds])
    stale = farthest_ratio(start, rounds[-1], sampled[-1])
    print(f"importance ratio {ratios.min():.4f} to {ratios.max():.4f}, with the first weights up to {stale:.4f}")
    print("difference of log-probabilities", logged(trainer, "sampling/sampling_logp_difference/mean"))
    assert (ratios - 1).abs().max() < 0.02
    assert abs(stale - 1) > 0.02


@torch.no_grad()
def farthest_ratio(model, this, outputs):
    """Return the importance ratio farthest from 1 that a round would have with the weights of another model."""
    farthest = 1.0
    for query, completion, sampled in zip(this.query_ids, this.completions, outputs, strict=True):
        own = log_probs(model, query, list(completion.token_ids), 1.0)
        pairs = zip(completion.token_ids, sampled.outputs[0].logprobs, strict=True)
        theirs = torch.tensor([one[token].logprob for token, one in pairs])
        found = (own.gather(1, torch.tensor(completion.token_ids)[:, None])[:, 0] - theirs).exp()
        farthest = max([farthest, *found.tolist()], key=lambda one: abs(one - 1))
    return farthest
