"""Runs stopped by Ctrl-C and SIGTERM: they write a checkpoint, leave no process, and resume to the same weights."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path

import pytest
import torch

from stepcoder_trl.errors import SandboxError
from stepcoder_trl.trainer.signals import Interruption, StopSignals
from tests.integration import interrupted_run
from tests.integration.helpers import RIGHT, logged, parameters, unreliable
from tests.integration.lifetime.script import Script
from tests.processes import fork_servers


pytestmark = pytest.mark.sandbox


def start(folder, wait_at):
    """Start a run in a process of its own. Return it when it waits for a signal."""
    scratch = folder / "scratch"
    scratch.mkdir()
    run = Script(scratch, "-m", "tests.integration.interrupted_run", wait_at, str(folder / "run"))
    if not any(line.strip() == "waiting" for line in run.process.stdout):
        pytest.fail(run.process.stderr.read())
    return run


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """Weights of a run that is not stopped."""
    trainer = interrupted_run.make_trainer(str(tmp_path_factory.mktemp("undisturbed")))
    trainer.train()
    return parameters(trainer.model)


class Killed(interrupted_run.Announcing):
    """Trainer that sends itself a signal at a moment."""

    moment, number = "", signal.SIGTERM

    def reached(self, event):
        super().reached(event)
        if event == self.moment:
            os.kill(os.getpid(), self.number)


@pytest.mark.parametrize(
    ("moment", "number", "checkpoint"),
    [
        ("generate 0", signal.SIGTERM, 0),  # interrupted: repeated
        ("update 0", signal.SIGINT, 1),
        ("generate 2", signal.SIGINT, 2),
        ("evaluate 2", signal.SIGTERM, 2),  # between two batches of the evaluation
        ("save 2", signal.SIGTERM, 2),
        ("update 2", signal.SIGTERM, 3),  # the last one
    ],
)
def test_stopped_and_resumed_run_equals_undisturbed_run(
    tmp_path, undisturbed, moment, number, checkpoint, monkeypatch
):
    monkeypatch.setattr(interrupted_run, "Announcing", Killed)
    trainer = interrupted_run.make_trainer(str(tmp_path))
    trainer.moment, trainer.number = moment, number

    with pytest.raises(SystemExit if number == signal.SIGTERM else KeyboardInterrupt) as ended:
        trainer.train()

    assert number == signal.SIGINT or ended.value.code == 143
    assert trainer.executor is None
    assert (tmp_path / f"checkpoint-{checkpoint}").is_dir()
    assert trainer.state.global_step == checkpoint
    again = interrupted_run.make_trainer(str(tmp_path))
    again.train(resume_from_checkpoint=True)
    assert ("evaluate 2" in again.events) == (checkpoint < 2 or "evaluate" in moment)
    for name, parameter in again.model.named_parameters():
        assert torch.equal(parameter, undisturbed[name]), name


@pytest.mark.parametrize(
    ("wait_at", "numbers", "statuses", "kept"),
    [
        ("update 0", [signal.SIGTERM], {143}, ["checkpoint-1"]),
        ("solutions", [signal.SIGINT], {-signal.SIGINT}, []),
        # Not merged with the first, as another SIGTERM might be.
        ("update 0 twice", [signal.SIGTERM, signal.SIGINT], {143, -signal.SIGINT}, []),
    ],
    ids=["in training", "before training", "a second one ends at once"],
)
def test_signal_ends_run_with_its_checkpoint_and_leaves_no_process(tmp_path, wait_at, numbers, statuses, kept):
    run = start(tmp_path, wait_at)

    for number in numbers:
        run.process.send_signal(number)

    status, output, errors = run.end()
    assert status in statuses, errors
    assert [path.name for path in (tmp_path / "run").glob("*checkpoint-*")] == kept
    assert "handlers lost" not in output


# Handlers


def send_signal(number):
    os.kill(os.getpid(), number)


def test_stop_signals_restores_handlers():
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)

    with StopSignals():
        assert signal.getsignal(signal.SIGTERM) != before[1]

    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


def test_repeated_signal_under_launcher_counts_once():
    signals = StopSignals(repeats_end=False)
    signals.at_once = False

    with signals:
        send_signal(signal.SIGINT)
        send_signal(signal.SIGINT)
        with pytest.raises(Interruption) as stopped:
            signals.check(signals.flags())

    assert isinstance(stopped.value.reason, KeyboardInterrupt)


def test_late_signal_ends_at_exit():
    signals = StopSignals()
    signals.at_once = False

    with pytest.raises(SystemExit, match="143"), signals:
        send_signal(signal.SIGTERM)


def test_ignored_signal_stays_ignored(monkeypatch):
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with StopSignals() as signals:
            send_signal(signal.SIGINT)
            assert signals.noted == 0
            assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_training_in_thread_installs_no_handlers(make_trainer, script):
    script(RIGHT)
    trainer, seen = make_trainer(max_steps=1), []
    trainer.data_collator = lambda rows: seen.append(signal.getsignal(signal.SIGTERM)) or rows
    before = signal.getsignal(signal.SIGTERM)
    thread = threading.Thread(target=trainer.train)

    thread.start()
    thread.join()

    assert trainer.state.global_step == 1
    assert seen == [before]


# Failures of the infrastructure


def test_full_disk_stops_training_after_checkpoint(make_trainer, script, problems, monkeypatch):
    script(RIGHT)
    trainer = make_trainer(max_steps=3, keywords={"executor": None}, executor_workers=1)

    def full(*args, **keywords):
        raise OSError(28, "No space left on device")

    submit = trainer.submit_programs

    def second_update_without_a_disk(rollout):
        if trainer.state.global_step == 1:
            trainer.runner.close()
            monkeypatch.setattr("stepcoder_trl.executor.local.server_process.random_name", full)
        return submit(rollout)

    trainer.submit_programs = second_update_without_a_disk

    with pytest.raises(SandboxError, match=r"4 of 4 programs.*No space left.*resume"):
        trainer.train()

    monkeypatch.undo()
    assert trainer.executor is None
    assert trainer.state.global_step == 1
    assert [path.name for path in Path(trainer.args.output_dir).glob("*checkpoint-*")] == ["checkpoint-1"]
    script(RIGHT)
    again = make_trainer(max_steps=3)
    again.train(resume_from_checkpoint=True)
    assert len(logged(again, "objective/scores")) == 3


def test_killed_worker_loses_no_sample(make_trainer, script):
    script(RIGHT)
    trainer = make_trainer(max_steps=1, keywords={"executor": None}, executor_workers=1, curriculum="off")
    submit = trainer.submit_programs

    def killing(rollout):
        for pid in fork_servers():
            os.kill(pid, signal.SIGKILL)
        return submit(rollout)

    trainer.submit_programs = killing

    trainer.train()

    assert logged(trainer, "executor/infrastructure_errors") == [0]
    assert logged(trainer, "executor/passed") == [1.0]


@pytest.mark.parametrize(("rate", "stops"), [(0.5, False), (0.49, True)])
def test_max_infrastructure_error_rate_limits_failures(make_trainer, script, executor, rate, stops):
    script(RIGHT)
    keywords = {"executor": unreliable(executor)}
    trainer = make_trainer(max_steps=1, keywords=keywords, max_infrastructure_error_rate=rate)

    if stops:
        with pytest.raises(SandboxError, match=r"`max_infrastructure_error_rate` 0\.49"):
            trainer.train()
    else:
        trainer.train()

    assert trainer.state.global_step == (0 if stops else 1)
