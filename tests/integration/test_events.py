"""Callbacks, logs, executors and configurations around a run."""

from __future__ import annotations

import pytest
from transformers import TrainerCallback

from tests.integration.helpers import RIGHT, WRONG, logged


pytestmark = pytest.mark.sandbox


class Events(TrainerCallback):
    def __init__(self, stop_at=None):
        self.events, self.stop_at = [], stop_at

    def on_train_begin(self, args, state, control, **kwargs):
        self.events.append(("train", state.max_steps))

    def on_epoch_begin(self, args, state, control, **kwargs):
        self.events.append(("epoch", state.epoch))

    def on_epoch_end(self, args, state, control, **kwargs):
        self.events.append(("epoch end", state.epoch))

    def on_step_begin(self, args, state, control, **kwargs):
        self.events.append(("step", state.global_step))

    def on_step_end(self, args, state, control, **kwargs):
        control.should_training_stop = state.global_step == self.stop_at or control.should_training_stop

    def on_train_end(self, args, state, control, **kwargs):
        self.events.append(("end", state.global_step))


def test_order_of_events(make_trainer, script):
    script(WRONG)
    events = Events()
    # Eight problems, four per update: two updates per epoch.
    trainer = make_trainer(
        per_device_train_batch_size=4, num_train_epochs=1.5, max_steps=-1, keywords={"callbacks": [events]}
    )

    trainer.train()

    assert events.events == [
        ("train", 3),
        ("epoch", 0.0),
        ("step", 0),
        ("step", 1),
        ("epoch end", 1.0),
        ("epoch", 1.0),
        ("step", 2),
        ("end", 3),
    ]
    assert trainer.state.episode == 24


def test_a_callback_can_stop_training(make_trainer, script):
    script(WRONG)
    trainer = make_trainer(max_steps=5, keywords={"callbacks": [Events(stop_at=2)]})

    assert trainer.train().global_step == 2


def test_logged_metrics_cover_updates_since_last_log(make_trainer, script):
    script(RIGHT, RIGHT, RIGHT, RIGHT, WRONG, WRONG, WRONG, WRONG)
    trainer = make_trainer(max_steps=5, logging_steps=2, curriculum="off")

    trainer.train()

    assert [entry["step"] for entry in trainer.state.log_history] == [2, 4, 5]
    assert logged(trainer, "objective/scores") == pytest.approx([0.35, 0.35, 1.0])
    assert logged(trainer, "val/num_eos_tokens") == [8.0, 8.0, 4.0]
    assert logged(trainer, "episode") == [8, 16, 20]


def test_own_executor_is_closed_after_training(make_trainer, script):
    script(RIGHT)
    trainer = make_trainer(max_steps=1, executor_workers=1, curriculum="off", keywords={"executor": None})

    trainer.train()

    assert trainer.executor is None
    assert logged(trainer, "executor/passed") == [1.0]


def test_given_executor_stays_open(make_trainer, script, executor, problems):
    script(RIGHT)
    make_trainer(max_steps=1).train()

    assert executor.run("def sign(x):" + RIGHT, problems[0].tests).outcome == "passed"


def test_training_does_not_change_the_configuration(make_trainer):
    trainer = make_trainer(num_mini_batches=2, whiten_rewards=True)

    args = trainer.args
    assert (args.gradient_accumulation_steps, args.num_mini_batches, args.whiten_rewards) == (2, 2, True)
    assert (args.total_episodes, args.stop_token) == (None, "eos")
    sizes = (args.batch_size, args.local_batch_size, args.mini_batch_size, args.local_mini_batch_size)
    assert sizes == (4, 4, 2, 2)
    assert (args.micro_batch_size, args.num_total_batches, args.world_size) == (2, 2, 1)
