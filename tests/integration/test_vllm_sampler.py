"""PPO with a vLLM server, which a stand-in in this process replaces: prompts, weights, evaluation, what is refused."""

from __future__ import annotations

import importlib.metadata
from dataclasses import replace

import pytest
import torch
from packaging.version import Version

from stepcoder_trl import BadInputError, StepCoderPPOTrainer
from stepcoder_trl.steps.starts import longest_query
from stepcoder_trl.trainer import vllm_sampler
from tests.conftest import SIGN
from tests.integration.helpers import lora, parameters


TRL = importlib.metadata.version("trl")
pytestmark = [
    pytest.mark.sandbox,
    pytest.mark.filterwarnings("ignore:.*(gradient|activation)_checkpointing:FutureWarning"),  # PEFT asks for it
    pytest.mark.skipif(Version(TRL) < Version("1.6"), reason="needs TRL 1.6"),
]

OPTIONS = {
    "use_vllm": True,
    "vllm_mode": "server",
    "learning_rate": 1e-2,
    "lr_scheduler_type": "constant",
    "top_p": 1.0,
}


@pytest.fixture
def make_sampling(make_args, make_policy, tokenizer, problems, executor, stand_in):
    """Return a function that makes trainers which sample with the stand-in. `seen` has the updates."""

    def make(dataset=None, eval_dataset=None, peft_config=None, **changes):
        trainer = StepCoderPPOTrainer(
            make_args(**{**OPTIONS, "max_steps": 3, **changes}),
            tokenizer,
            make_policy(),
            train_dataset=problems if dataset is None else dataset,
            eval_dataset=eval_dataset,
            peft_config=peft_config,
            executor=executor,
        )
        trainer.seen = []
        trainer.on_update = trainer.seen.append
        return trainer

    return make


def client_of(trainer):
    return trainer.generate.engine.vllm_client


def test_server_gets_one_prompt_per_group_that_ends_with_the_prefix(make_sampling, tokenizer):
    trainer = make_sampling()
    trainer.train()

    client = client_of(trainer)
    assert len(client.calls) == len(trainer.seen) == 3
    for call, update in zip(client.calls, trainer.seen, strict=True):
        starts = update.rollout.starts
        assert call["n"] == 2
        assert call["prompts"] == [list(starts[place].query.token_ids) for place in (0, 2)]
        assert (call["temperature"], call["top_p"], call["max_tokens"]) == (0.8, 1.0, 12)
        for ids, start in zip(call["prompts"], (starts[0], starts[2]), strict=True):
            prefix = tokenizer(start.stage.prefix.rstrip())["input_ids"]
            assert ids[-len(prefix) + 1 :] == prefix[1:]  # the first token may join the prompt's line end
            assert SIGN.startswith(start.stage.prefix)


@pytest.mark.parametrize("adapter", [False, True], ids=["full", "lora"])
def test_sampler_has_the_weights_of_the_policy_in_each_update(make_sampling, adapter):
    trainer = make_sampling(peft_config=lora() if adapter else None)
    before = parameters(trainer.model)
    trainer.train()

    assert client_of(trainer).updates == 3
    assert any(not torch.equal(before[name], one) for name, one in trainer.model.named_parameters())
    for update, sampled in zip(trainer.seen, client_of(trainer).log_probs, strict=True):
        computed = update.tokens.log_probs.tolist()
        for row, length, theirs in zip(computed, update.rollout.generation.lengths.tolist(), sampled, strict=True):
            assert row[:length] == pytest.approx(theirs, abs=1e-5)


def test_evaluation_sends_the_weights_once_and_has_settings_of_its_own(make_sampling, problems):
    trainer = make_sampling(
        eval_dataset=problems[:3],
        eval_num_generations=2,
        eval_response_length=5,
        per_device_eval_batch_size=4,
        max_steps=1,
    )

    trainer.evaluate()

    client = client_of(trainer)
    assert client.updates == 1
    assert [call["n"] for call in client.calls] == [2, 2]
    assert [len(call["prompts"]) for call in client.calls] == [2, 1]
    assert {(call["temperature"], call["top_p"], call["max_tokens"]) for call in client.calls} == {(0.2, 0.95, 5)}


def test_completions_of_chats_stop_at_the_closing_fence(make_sampling, problems, tokenizer):
    chats = [replace(one, prompt=[{"role": "user", "content": one.prompt}]) for one in problems]
    trainer = make_sampling(dataset=chats, max_steps=1, response_length=30)
    ids = tokenizer("\n    return 1\n```\nIt returns")["input_ids"]
    client_of(trainer)._sample = lambda *_: (ids, [0.0] * len(ids))

    trainer.train()

    (update,) = trainer.seen
    assert client_of(trainer).calls[0]["generation_kwargs"]["stop"] == ["\n```"]
    assert {one.text for one in update.rollout.completions} == {"\n    return 1\n```"}
    assert update.rollout.generation.stopped.all()


def test_window_of_vllm_holds_the_longest_query_and_its_answer(make_sampling, problems):
    trainer = make_sampling()
    longest = max(longest_query(row, trainer.curriculum, trainer.build_query) for row in trainer.rows)

    make_sampling(vllm_max_model_length=longest + 12)
    with pytest.raises(BadInputError, match=rf"`response_length` is 12\. Set it to at least {longest + 12}"):
        make_sampling(vllm_max_model_length=longest + 11)
    with pytest.raises(BadInputError, match=r"`eval_response_length` is 99\. Set it to at least"):
        make_sampling(vllm_max_model_length=longest + 12, eval_response_length=99, eval_dataset=problems)


def test_runs_that_vllm_cannot_serve_are_refused(make_sampling, monkeypatch):
    with pytest.raises(BadInputError, match=r"`vllm_mode` is 'colocate', .* made in memory"):
        make_sampling(vllm_mode="colocate")
    with pytest.raises(BadInputError, match="`vllm_mode` is 'remote'"):
        make_sampling(vllm_mode="remote")

    monkeypatch.setattr(vllm_sampler.importlib.metadata, "version", lambda _: "1.5.0")
    with pytest.raises(BadInputError, match=r"`use_vllm` needs trl>=1\.6 with PPO, but trl 1\.5\.0 is installed"):
        make_sampling()


def test_missing_vllm_is_named(make_sampling, monkeypatch):
    from trl.generation import vllm_generation

    monkeypatch.setattr(vllm_generation, "is_vllm_available", lambda *_: False)
    with pytest.raises(BadInputError, match=r"pip install 'stepcoder-trl\[vllm\]'"):
        make_sampling()
