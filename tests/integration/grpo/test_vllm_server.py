"""GRPO with a vLLM server, which a stand-in in this process replaces: prompts, weights and what is refused."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from packaging.version import Version
from peft import LoraConfig
from trl.generation import vllm_generation

from stepcoder_trl import BadInputError, unit_test_reward
from stepcoder_trl.steps.starts import longest_query
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


def test_window_of_vllm_holds_the_longest_query_and_its_answer(make_trainer, stand_in, problems):
    trainer = make_trainer(**OPTIONS)
    longest = max(longest_query(row, trainer.curriculum, trainer.build_query) for row in trainer.training_set.rows)
    room = longest + OPTIONS["max_completion_length"]

    make_trainer(**OPTIONS, vllm_max_model_length=room)
    with pytest.raises(BadInputError, match=rf"`vllm_max_model_length` is {room - 1}, .* at least {room}, or set"):
        make_trainer(**OPTIONS, vllm_max_model_length=room - 1)
    make_trainer(**{**OPTIONS, "use_vllm": False}, vllm_max_model_length=room - 1)
    longer = replace(problems[0], task_id="long", prompt="Write sign, and " * 9)
    with pytest.raises(BadInputError, match=r"that of problem 'long', .* at least"):
        make_trainer(**OPTIONS, vllm_max_model_length=room, keywords={"eval_dataset": [longer]})


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"n": 4}, '`generation_kwargs` has "n", which the trainer sets for vLLM. `num_gen'),
        ({"temperature": 0.5}, "Set `temperature`"),
        ({"truncate_prompt_tokens": 5}, "Set `max_prompt_length`"),
        ({"stop": ["\n```"]}, "`mask_truncated_completions` takes each completion"),
    ],
)
def test_contradicting_settings_of_generation_are_refused(make_args, kwargs, message):
    with pytest.raises(BadInputError, match=message):
        make_args(**OPTIONS, generation_kwargs=kwargs, mask_truncated_completions=True)
    if "stop" in kwargs:
        make_args(**OPTIONS, generation_kwargs=kwargs)


def test_colocated_vllm_needs_the_folder_of_the_model(make_trainer, stand_in):
    with pytest.raises(BadInputError, match=r"`vllm_mode` is 'colocate', .* made in memory"):
        make_trainer(**{**OPTIONS, "vllm_mode": "colocate"})


def test_missing_vllm_is_named(make_trainer, monkeypatch):
    monkeypatch.setattr(vllm_generation, "is_vllm_available", lambda: False)
    with pytest.raises(BadInputError, match=r"pip install 'stepcoder-trl\[vllm\]'"):
        make_trainer(**OPTIONS)
