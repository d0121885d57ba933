"""Run loop: counters, the best result, schedules and states of callbacks."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from transformers import TrainerControl, TrainerState
from transformers.trainer_callback import ExportableState

from stepcoder_trl.trainer.run_loop import (
    RunLoop,
    add_callback_states,
    mean_loss,
    note_best,
    schedule_restart,
)


class Handler:
    """Callback handler that records the events."""

    callbacks = ()

    def __init__(self):
        self.events = []

    def __getattr__(self, name):
        def fire(args, state, control, *more):
            self.events.append(name)
            return control

        return fire


class Trainer(SimpleNamespace):
    """Stand-in for a trainer, which unlike a plain namespace can be referred to weakly."""


@pytest.fixture
def trainer():
    weight = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([weight], lr=1.0)
    state = TrainerState()
    state.episode = 0
    trainer = Trainer(
        args=SimpleNamespace(
            save_strategy="no", log_completions=False, hub_token=None, push_to_hub=False, metric_for_best_model=None
        ),
        state=state,
        control=TrainerControl(),
        callback_handler=Handler(),
        optimizer=optimizer,
        lr_scheduler=torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 - step / 4),
        plan=SimpleNamespace(batch_size=8, updates_per_epoch=2, num_updates=4),
        logged=[],
    )
    trainer.log = trainer.logged.append
    return trainer


def make(trainer):
    return RunLoop(trainer)


def do_updates(run, trainer, number):
    for update in range(number):
        run.begin_update()
        trainer.optimizer.step()
        run.end_update({"loss": float(update)})


def test_counters_advance_and_events_come_in_their_order(trainer):
    run = make(trainer)

    do_updates(run, trainer, 2)

    state = trainer.state
    assert (state.global_step, state.episode, state.epoch) == (2, 16, 1.0)
    assert trainer.lr_scheduler.get_last_lr() == [0.5]
    assert trainer.callback_handler.events == [
        "on_epoch_begin",
        *("on_step_begin", "on_step_end") * 2,
        "on_epoch_end",
    ]
    assert [metrics["episode"] for metrics in run.history] == [8, 16]


def test_replaced_optimizer_gives_no_warning(trainer):
    run = make(trainer)
    # As DeepSpeed does with offloading: the schedule cannot see the steps of another optimizer.
    trainer.lr_scheduler.optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    trainer.lr_scheduler.optimizer.param_groups[0]["initial_lr"] = 1.0

    do_updates(run, trainer, 1)  # warnings are errors

    assert trainer.lr_scheduler.get_last_lr() == [0.75]


def test_updates_since_the_last_log_are_logged_together(trainer):
    run = make(trainer)
    do_updates(run, trainer, 1)
    trainer.control.should_log = True

    run.begin_update()
    trainer.optimizer.step()
    run.end_update({"loss": 3.0})

    (logged,) = trainer.logged
    assert (logged["loss"], logged["episode"]) == (1.5, 16)
    assert run.history == []


def test_better_evaluation_asks_for_a_checkpoint(trainer):
    run, saved = make(trainer), []
    trainer.args.save_strategy, trainer.args.greater_is_better = "steps", True
    trainer.evaluate = lambda: {"eval_pass@1": 0.5}
    trainer.control.should_evaluate = True
    run.save_checkpoint = lambda: saved.append(trainer.state.global_step)

    do_updates(run, trainer, 1)

    assert saved == [1]
    assert (trainer.state.best_metric, trainer.state.best_global_step) == (0.5, 1)


@pytest.mark.parametrize(
    ("greater", "before", "now", "better"),
    [(True, None, 0.1, True), (True, 0.5, 0.5, False), (True, 0.5, 0.6, True), (False, 0.5, 0.4, True)],
)
def test_only_better_result_is_stored(greater, before, now, better):
    state = TrainerState(best_metric=before)
    args = SimpleNamespace(metric_for_best_model="eval_x", greater_is_better=greater)

    assert note_best(state, args, {"eval_x": now}) == better
    assert state.best_metric == (now if better else before)


def test_schedule_restarts():
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 0.5**step)
    restart = schedule_restart(optimizer, scheduler)
    for _ in range(2):
        optimizer.step()
        scheduler.step()

    restart()

    assert optimizer.param_groups[0]["lr"] == 1.0
    assert scheduler.get_last_lr() == [1.0]


def test_states_of_callbacks_are_stored_by_class():
    class Counting(ExportableState):
        def __init__(self, count):
            self.count = count

        def state(self):
            return {"count": self.count}

    state = TrainerState()

    add_callback_states(state, [Counting(1), object(), Counting(2)], TrainerControl())

    assert state.stateful_callbacks["Counting"] == [{"count": 1}, {"count": 2}]
    assert "TrainerControl" in state.stateful_callbacks


def test_mean_loss_weighs_the_critic():
    entries = [{"loss/policy_avg": 1.0, "loss/value_avg": 10.0}, {"loss/policy_avg": 3.0, "loss/value_avg": 0.0}]

    assert mean_loss(entries, vf_coef=0.1) == 2.5
    assert mean_loss([], vf_coef=0.1) == 0.0
