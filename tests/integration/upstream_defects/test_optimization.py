"""Optimizer steps, gradients, schedules and checkpoints."""

from __future__ import annotations

import copy

import pytest
import torch
from transformers import TrainerCallback

from tests.integration.helpers import logged
from tests.integration.upstream import models, needs_upstream, our_trainer, train_upstream, upstream_trainer


class StopAfterFirstUpdate(TrainerCallback):
    """Asks to stop after the first update, and records the events."""

    def __init__(self):
        self.events = []

    def on_step_begin(self, args, state, control, **kwargs):
        self.events.append("step begin")

    def on_epoch_begin(self, args, state, control, **kwargs):
        self.events.append("epoch begin")

    def on_step_end(self, args, state, control, **kwargs):
        self.events.append("step end")
        control.should_training_stop = True


def distance(model, start):
    return sum((p - start.get_parameter(n)).norm().item() ** 2 for n, p in model.named_parameters()) ** 0.5


def steps_of(trainer):
    """Return a list that grows with every optimizer step."""
    steps = []
    trainer.optimizer.optimizer.register_step_post_hook(lambda *_: steps.append(trainer.state.global_step))
    return steps


# Ten completions, at most one update of two optimizer steps, and tiny gradients.
OPTIONS = {
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
def upstream_run(tokenizer, tmp_path_factory):
    """A run of upstream with these options: trainer, callback, optimizer steps, distance that the weights moved."""
    callback, given = StopAfterFirstUpdate(), models(tokenizer)
    start = copy.deepcopy(given["model"])
    arguments = {**given, "callbacks": [callback]}
    trainer = upstream_trainer(tokenizer, tmp_path_factory.mktemp("upstream"), arguments, **OPTIONS)
    steps = steps_of(trainer)
    train_upstream(trainer)
    return trainer, callback, steps, distance(given["model"], start)


@needs_upstream
def test_d4_upstream_cannot_resume(upstream_run):
    with pytest.raises(TypeError, match="resume_from_checkpoint"):
        upstream_run[0].train(resume_from_checkpoint=True)


@needs_upstream
def test_d5_upstream_does_not_save_the_critic(upstream_run, tmp_path):
    upstream_run[0].save_model(str(tmp_path))

    assert not [path for path in tmp_path.rglob("*") if "value" in path.name]


@needs_upstream
def test_d6_upstream_ignores_num_mini_batches_and_dilutes_its_means(upstream_run):
    trainer, _, steps, _ = upstream_run

    assert steps.count(0) == 1  # two were asked for
    assert logged(trainer, "val/ratio") == pytest.approx([0.5] * 3, abs=0.05)  # half of its slots are never filled


@needs_upstream
def test_d7_upstream_does_not_clip_gradients(upstream_run):
    assert upstream_run[3] > 1000 * OPTIONS["max_grad_norm"]


@needs_upstream
def test_d8_upstream_has_one_learning_rate(upstream_run):
    assert {group["lr"] for group in upstream_run[0].optimizer.param_groups} == {1.0}


@needs_upstream
def test_d9_upstream_ignores_gradient_checkpointing(upstream_run):
    trainer = upstream_run[0]

    for model in (trainer.policy_model, trainer.value_model):
        assert not any(layer.gradient_checkpointing for layer in model.model.layers)


@needs_upstream
def test_d21_upstream_ignores_max_steps_logging_steps_and_stop_requests(upstream_run):
    trainer, callback, *_ = upstream_run

    assert trainer.state.global_step == 3
    assert len(logged(trainer, "lr")) == 3
    assert callback.events == ["step end"] * 3


@needs_upstream
def test_d25_upstream_trains_past_total_episodes(upstream_run):
    assert upstream_run[0].state.episode == 12


def test_ours_follows_its_options(tokenizer, tmp_path):
    callback, given = StopAfterFirstUpdate(), models(tokenizer)
    start = copy.deepcopy(given["model"])
    options = {**OPTIONS, "max_steps": -1, "logging_steps": 1, "value_learning_rate": 2.0}
    trainer = our_trainer(tokenizer, tmp_path, {**given, "callbacks": [callback]}, **options)
    steps = steps_of(trainer)

    trainer.train()

    assert trainer.state.max_steps == 2  # D25: 8 completions, not 12
    assert callback.events == ["epoch begin", "step begin", "step end"]  # D21
    assert steps == [0, 0]  # D6
    assert logged(trainer, "val/ratio") == pytest.approx([1.0], abs=0.01)
    assert distance(given["model"], start) <= 2 * OPTIONS["max_grad_norm"]  # D7: two steps
    assert logged(trainer, "grad_norm")[0] > 1000 * OPTIONS["max_grad_norm"]  # the metric is the norm before clipping
    assert {group["lr"] for group in trainer.optimizer.param_groups} == {1.0, 2.0}  # D8


def test_d9_ours_recomputes_activations_of_policy_and_critic(tokenizer, tmp_path):
    calls = {}
    for saving in (False, True):
        folder = tmp_path / str(saving)
        trainer = our_trainer(tokenizer, folder, max_steps=1, num_ppo_epochs=1, gradient_checkpointing=saving)
        for part in (trainer.policy_model, trainer.value_model):
            key = (saving, type(part).__name__)
            calls[key] = 0

            def record(*_, key=key):
                calls[key] += torch.is_grad_enabled()

            part.model.layers[0].mlp.register_forward_pre_hook(record)
        trainer.train()

    # Two micro-batches; with checkpointing each layer runs once more in the backward pass.
    policy, critic = "SeededPolicy", "LlamaForSequenceClassification"
    assert calls == {(False, policy): 2, (False, critic): 2, (True, policy): 4, (True, critic): 4}


def in_bfloat16(tokenizer):
    given = models(tokenizer)
    given["model"], given["ref_model"] = given["model"].bfloat16(), given["ref_model"].bfloat16()
    return given


FIRST_PASS = {"num_ppo_epochs": 1, "per_device_train_batch_size": 4, "gradient_accumulation_steps": 1}


@needs_upstream
def test_d27_upstream_first_ratio_is_not_one(tokenizer, tmp_path):
    given = in_bfloat16(tokenizer)

    trainer = train_upstream(upstream_trainer(tokenizer, tmp_path, given, **FIRST_PASS, total_episodes=4))

    assert logged(trainer, "policy/approxkl_avg")[0] > 1e-8


def test_d27_our_first_ratio_is_one(tokenizer, tmp_path):
    trainer = our_trainer(tokenizer, tmp_path, in_bfloat16(tokenizer), **FIRST_PASS, total_episodes=4)

    trainer.train()

    assert logged(trainer, "policy/approxkl_avg") == pytest.approx([0.0], abs=1e-12)


TWO_UPDATES = {"num_ppo_epochs": 1, "total_episodes": 8}  # all rows once


@needs_upstream
def test_d28_upstream_stops_accumulating_at_epoch_end(tokenizer, tmp_path):
    trainer = upstream_trainer(tokenizer, tmp_path, **TWO_UPDATES)
    steps = steps_of(trainer)

    train_upstream(trainer)

    assert steps == [0, 1, 1]


def test_d28_ours_accumulates_across_epoch_end(tokenizer, tmp_path):
    trainer = our_trainer(tokenizer, tmp_path, **TWO_UPDATES)
    steps = steps_of(trainer)

    trainer.train()

    assert steps == [0, 1]
