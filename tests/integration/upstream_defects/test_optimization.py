"""Optimizer steps, gradients, schedules and checkpoints."""

from __future__ import annotations

import copy

import pytest
import torch
from transformers import TrainerCallback

from tests.integration.upstream import logged, models, needs_upstream, our_trainer, train_upstream, upstream_trainer


class StopsAtOnce(TrainerCallback):
    """Asks to stop after the first update, and notes the events."""

    def __init__(self):
        self.events = []

    def on_step_begin(self, args, state, control, **kwargs):
        self.events.append("step begin")

    def on_epoch_begin(self, args, state, control, **kwargs):
        self.events.append("epoch begin")

    def on_step_end(self, args, state, control, **kwargs):
        self.events.append("step end")
        control.should_training_stop = True


def steps_of(trainer):
    """List that grows with every optimizer step."""
    steps = []
    trainer.optimizer.optimizer.register_step_post_hook(lambda *_: steps.append(trainer.state.global_step))
    return steps


# 10 completions are asked for, but no more than one update; two optimizer steps each; hardly any gradient.
DEMANDS = {
    "total_episodes": 10,
    "max_steps": 1,
    "logging_steps": 3,
    "num_ppo_epochs": 1,
    "num_mini_batches": 2,
    "max_grad_norm": 1e-6,
    "optim": "sgd",
    "learning_rate": 1.0,
    "lr_scheduler_type": "constant",
    "gradient_checkpointing": True,
}


@pytest.fixture(scope="module")
def upstreams_run(tokenizer, tmp_path_factory):
    """One run of upstream that is asked for much: trainer, callback, optimizer steps, distance the weights moved."""
    callback, given = StopsAtOnce(), models(tokenizer)
    start = copy.deepcopy(given["model"])
    arguments = {**given, "callbacks": [callback]}
    trainer = upstream_trainer(tokenizer, tmp_path_factory.mktemp("upstream"), arguments, **DEMANDS)
    steps = steps_of(trainer)
    train_upstream(trainer)
    moved = sum((p - start.get_parameter(n)).norm().item() ** 2 for n, p in given["model"].named_parameters()) ** 0.5
    return trainer, callback, steps, moved


@needs_upstream
def test_d4_upstream_does_not_resume(upstreams_run):
    with pytest.raises(TypeError, match="resume_from_checkpoint"):
        upstreams_run[0].train(resume_from_checkpoint=True)


@needs_upstream
def test_d5_upstream_does_not_save_the_critic(upstreams_run, tmp_path):
    upstreams_run[0].save_model(str(tmp_path))

    assert not [path for path in tmp_path.rglob("*") if "value" in path.name]


@needs_upstream
def test_d6_upstream_steps_once_however_many_mini_batches_and_dilutes_its_means(upstreams_run):
    trainer, _, steps, _ = upstreams_run

    assert steps.count(0) == 1  # two were asked for
    assert logged(trainer, "val/ratio") == pytest.approx([0.5] * 3, abs=0.05)  # half of its slots are never filled


@needs_upstream
def test_d7_upstream_does_not_clip_gradients(upstreams_run):
    assert upstreams_run[3] > 1000 * DEMANDS["max_grad_norm"]


@needs_upstream
def test_d8_upstream_has_one_learning_rate(upstreams_run):
    assert {group["lr"] for group in upstreams_run[0].optimizer.param_groups} == {1.0}


@needs_upstream
def test_d9_upstream_checkpoints_no_activations(upstreams_run):
    trainer = upstreams_run[0]

    for model in (trainer.policy_model, trainer.value_model):
        assert not any(layer.gradient_checkpointing for layer in model.model.layers)


@needs_upstream
def test_d21_upstream_ignores_max_steps_logging_steps_and_requests_to_stop(upstreams_run):
    trainer, callback, *_ = upstreams_run

    assert trainer.state.global_step == 3
    assert len(logged(trainer, "lr")) == 3
    assert callback.events == ["step end"] * 3


@needs_upstream
def test_d25_upstream_trains_past_total_episodes(upstreams_run):
    assert upstreams_run[0].state.episode == 12


def test_ours_does_as_it_is_told(tokenizer, tmp_path):
    callback, given = StopsAtOnce(), models(tokenizer)
    start = copy.deepcopy(given["model"])
    demands = {**DEMANDS, "max_steps": -1, "logging_steps": 1, "value_learning_rate": 2.0}
    trainer = our_trainer(tokenizer, tmp_path, {**given, "callbacks": [callback]}, **demands)
    steps = steps_of(trainer)

    trainer.train()

    assert trainer.state.max_steps == 2  # D25: 8 completions, not 12
    assert callback.events == ["epoch begin", "step begin", "step end"]  # D21
    assert steps == [0, 0]  # D6
    assert logged(trainer, "val/ratio") == pytest.approx([1.0], abs=0.01)
    moved = sum((p - start.get_parameter(n)).norm().item() ** 2 for n, p in given["model"].named_parameters()) ** 0.5
    assert moved <= 2 * DEMANDS["max_grad_norm"]  # D7: two steps
    assert logged(trainer, "grad_norm")[0] > 1000 * DEMANDS["max_grad_norm"]  # the metric is the norm before
    assert {group["lr"] for group in trainer.optimizer.param_groups} == {1.0, 2.0}  # D8


def test_d9_activations_are_recomputed_for_policy_and_critic(tokenizer, tmp_path):
    calls = {}
    for saving in (False, True):
        trainer = our_trainer(tokenizer, tmp_path, max_steps=1, num_ppo_epochs=1, gradient_checkpointing=saving)
        for part in (trainer.policy_model, trainer.value_model):
            key = (saving, type(part).__name__)
            calls[key] = 0

            def note(*_, key=key):
                calls[key] += torch.is_grad_enabled()

            part.model.layers[0].mlp.register_forward_pre_hook(note)
        trainer.train()

    # Two micro-batches; with checkpointing each layer runs once more in the backward pass.
    assert {key: number for key, number in calls.items() if not key[0]} == {
        (False, "SeededPolicy"): 2,
        (False, "LlamaForSequenceClassification"): 2,
    }
    assert {key: number for key, number in calls.items() if key[0]} == {
        (True, "SeededPolicy"): 4,
        (True, "LlamaForSequenceClassification"): 4,
    }


def in_bfloat16(tokenizer):
    given = models(tokenizer)
    given["model"], given["ref_model"] = given["model"].bfloat16(), given["ref_model"].bfloat16()
    return given


FIRST_PASS = {"num_ppo_epochs": 1, "per_device_train_batch_size": 4, "gradient_accumulation_steps": 1}


@needs_upstream
def test_d27_upstreams_first_ratio_is_not_one(tokenizer, tmp_path):
    given = in_bfloat16(tokenizer)

    trainer = train_upstream(upstream_trainer(tokenizer, tmp_path, given, **FIRST_PASS, total_episodes=4))

    assert logged(trainer, "policy/approxkl_avg")[0] > 1e-8


def test_d27_ours_is(tokenizer, tmp_path):
    trainer = our_trainer(tokenizer, tmp_path, in_bfloat16(tokenizer), **FIRST_PASS, total_episodes=4)

    trainer.train()

    assert logged(trainer, "policy/approxkl_avg") == pytest.approx([0.0], abs=1e-12)


TWO_UPDATES = {"num_ppo_epochs": 1, "total_episodes": 8}  # all rows once


@needs_upstream
def test_d28_upstream_does_not_accumulate_at_the_end_of_an_epoch(tokenizer, tmp_path):
    trainer = upstream_trainer(tokenizer, tmp_path, **TWO_UPDATES)
    steps = steps_of(trainer)

    train_upstream(trainer)

    assert steps == [0, 1, 1]


def test_d28_ours_does(tokenizer, tmp_path):
    trainer = our_trainer(tokenizer, tmp_path, **TWO_UPDATES)
    steps = steps_of(trainer)

    trainer.train()

    assert steps == [0, 1]
