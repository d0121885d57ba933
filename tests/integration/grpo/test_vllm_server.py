"""GRPO with a vLLM server, which a stand-in in this process replaces: prompts, weights and what is refused."""

from __future__ import annotations

import pytest
import torch
from packaging.version import Version
from peft import LoraConfig

from stepcoder_trl import unit_test_reward
from stepcoder_trl.trainer._trl_grpo import trl_version
from tests.conftest import SIGN
from tests.integration.grpo.helpers import letters
from tests.integration.helpers import logged


pytestmark = [
    pytest.mark.sandbox,
    pytest.mark.skipif(Version(trl_version()) < Version("1.6"), reason="TRL below 1.6 imports vLLM itself"),
]

OPTIONS = {
    "use_vllm": True,
    "vllm_mode": "server",
    "vllm_importance_sampling_mode": "token_truncate",
    "learning_rate": 1e-2,
    "lr_scheduler_type": "constant",
    "max_steps": 3,
    "max_completion_length": 8,
}
REWARDS = {"reward_funcs": [unit_test_reward, letters]}


def ratios(trainer):
    """Return the importance ratios of all sampled tokens."""
    rounds = [this.result for this in trainer.seen]
    return torch.cat([one["importance_sampling_ratio"][one["completion_mask"].bool()] for one in rounds])


def test_server_gets_one_prompt_per_group_that_ends_with_the_prefix(make_trainer, stand_in, tokenizer):
    trainer = make_trainer(keywords=REWARDS, **OPTIONS)
    trainer.train()

    client = trainer.vllm_generation.vllm_client
    assert len(client.calls) == len(trainer.seen) == 3
    for call, this in zip(client.calls, trainer.seen, strict=True):
        assert call["n"] == 4
        assert call["prompts"] == [list(this.starts[place].query.token_ids) for place in (0, 4)]
        for ids, start in zip(call["prompts"], (this.starts[0], this.starts[4]), strict=True):
            assert start.stage.stage == 1
            prefix = tokenizer(start.stage.prefix.rstrip())["input_ids"]
            assert ids[-len(prefix) + 1 :] == prefix[1:]  # the first token may join the prompt's line end
            assert SIGN.startswith(start.stage.prefix)


@pytest.mark.parametrize("peft", [None, LoraConfig(r=4, task_type="CAUSAL_LM")], ids=["full", "lora"])
def test_sampler_has_the_weights_of_the_trainer(make_trainer, stand_in, peft):
    trainer = make_trainer(keywords={**REWARDS, "peft_config": peft}, **OPTIONS)
    before = {name: one.detach().clone() for name, one in trainer.model.named_parameters()}
    trainer.train()

    assert trainer.vllm_generation.vllm_client.updates == 3
    assert any(not torch.equal(before[name], one) for name, one in trainer.model.named_parameters())
    assert (ratios(trainer) - 1).abs().max() < 1e-5
    assert logged(trainer, "sampling/importance_sampling_ratio/max") == pytest.approx([1.0] * 3, abs=1e-5)


def test_ratio_shows_weights_that_were_not_sent(make_trainer, stand_in, monkeypatch):
    trainer = make_trainer(keywords=REWARDS, **OPTIONS)
    trainer.vllm_generation.sync_weights()
    monkeypatch.setattr(trainer.vllm_generation, "sync_weights", lambda: None)
    trainer.train()

    assert (ratios(trainer) - 1).abs().max() > 1e-3
