"""The GRPO trainer stops with an error if a release of TRL does not do a round as expected."""

from __future__ import annotations

import pytest

from stepcoder_trl.trainer import grpo_trainer
from stepcoder_trl.trainer._trl_grpo import trl_version
from stepcoder_trl.trainer.grpo_trainer import StepCoderGRPOTrainer
from tests.integration.helpers import RIGHT


pytestmark = pytest.mark.sandbox


def changed(monkeypatch, name, method):
    """Replace a method of upstream's trainer. `method` gets the original as its first argument."""
    parent = grpo_trainer.GRPOTrainer
    original = getattr(parent, name)
    monkeypatch.setattr(parent, name, lambda self, *args, **kwargs: method(original, self, *args, **kwargs))


def with_result(change):
    def method(original, self, inputs):
        result = original(self, inputs)
        change(result)
        return result

    return method


def swap_prompts(result):
    result["prompt_ids"] = result["prompt_ids"].flip(1)


def change_completion(result):
    result["completion_ids"] = result["completion_ids"].clone()
    result["completion_ids"][0, 0] += 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda result: result.pop("num_items_in_batch"), "has the entries"),
        (lambda result: result.update(tool_mask=result["completion_mask"]), "has the entries"),
        (swap_prompts, "not the queries that were handed over"),
        (change_completion, "not those that were sampled and run"),
    ],
    ids=["lacking-entry", "other-mask", "prompts", "completions"],
)
def test_changed_result_is_an_error(make_trainer, monkeypatch, change, message):
    trainer = make_trainer(texts=[RIGHT])
    changed(monkeypatch, "_generate_and_score_completions", with_result(change))

    with pytest.raises(RuntimeError, match=f"^trl {trl_version()}: .*{message}"):
        trainer.train()


class Skipping(StepCoderGRPOTrainer):
    """Trainer of a release that no longer calls one of the hooks."""

    skipped = ""

    def __getattribute__(self, name):
        if name == super().__getattribute__("skipped") and super().__getattribute__("is_in_train"):
            return lambda *args, **kwargs: getattr(grpo_trainer.GRPOTrainer, name)(self, *args, **kwargs)
        return super().__getattribute__(name)


@pytest.mark.parametrize("hook", ["_tokenize_prompts", "_generate_single_turn", "_calculate_rewards"])
def test_hook_that_is_not_called_is_an_error(make_trainer, hook):
    trainer = make_trainer(texts=[RIGHT], cls=Skipping, keywords={"reward_funcs": lambda completions, **_: [0.0] * 8})
    trainer.skipped = hook

    with pytest.raises(RuntimeError, match=f"^trl {trl_version()}: "):
        trainer.train()


def test_hook_that_is_called_twice_is_an_error(make_trainer, monkeypatch):
    trainer = make_trainer(texts=[RIGHT])
    generate = grpo_trainer.GRPOTrainer._generate

    def generating_twice(self, prompts):
        generate(self, prompts)
        return generate(self, prompts)

    monkeypatch.setattr(grpo_trainer.GRPOTrainer, "_generate", generating_twice)

    with pytest.raises(RuntimeError, match="`_tokenize_prompts` was not called once in a round"):
        trainer.train()
