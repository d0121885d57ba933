"""Checkpoints of the GRPO trainer: what they hold, exact continuation, and interruptions."""

from __future__ import annotations

import json
import os
import signal
from itertools import chain, cycle, repeat

import pytest
import torch
from transformers import TrainerCallback

from stepcoder_trl import BadInputError, SandboxError
from tests.integration.grpo.helpers import history, letters
from tests.integration.helpers import DISK_FULL, RIGHT, WRONG, Answers, lora, with_solution


pytestmark = pytest.mark.sandbox

RUN = {"max_steps": 4, "num_train_epochs": 4, "save_strategy": "steps", "save_steps": 2, "curriculum_momentum": 1.0}


def weights(trainer):
    return {name: p.detach().clone() for name, p in trainer.model.named_parameters()}


@pytest.mark.parametrize(
    "options", [{}, {"lora": True}, {"curriculum": "mix", "fgo": "random"}], ids=["full", "lora", "mix-and-random"]
)
def test_resumed_run_equals_uninterrupted_run(make_trainer, tmp_path, options):
    options = dict(options)
    adapter = lora() if options.pop("lora", False) else None
    given = {"reward_funcs": letters, "peft_config": adapter}  # letters give each group a spread

    def trainer(**changes):
        return make_trainer(keywords=dict(given), **{**RUN, **options, **changes})

    whole = trainer(output_dir=str(tmp_path / "whole"))
    whole.train()
    first = trainer(output_dir=str(tmp_path / "parts"))
    first.train()
    again = trainer(output_dir=str(tmp_path / "parts"))
    again.train(resume_from_checkpoint=str(tmp_path / "parts" / "checkpoint-2"))

    def losses(one):
        return [entry for entry in history(one) if "reward" in entry]

    assert losses(again) == losses(whole)
    assert [this.number for this in again.seen] == [2, 3]
    assert [this.results for this in again.seen] == [this.results for this in whole.seen[2:]]
    assert again.curriculum.digest() == whole.curriculum.digest()
    for name, weight in weights(whole).items():
        assert torch.equal(weights(again)[name], weight), name


def test_resumed_run_goes_on_with_the_order_of_its_epoch(make_trainer, tmp_path, problems):
    """TRL's sampler begins with the order of the first epoch again."""
    options = {**RUN, "max_steps": 6, "save_steps": 1, "output_dir": str(tmp_path / "run")}
    given = {"keywords": {"reward_funcs": letters}, "dataset": problems[:4], **options}
    whole = make_trainer(**given)
    whole.train()
    by_round = [[one.start.row.task_id for one in this.completions] for this in whole.seen]
    per_epoch = len(whole.get_train_dataloader()) // (whole.args.gradient_accumulation_steps or 1)
    assert per_epoch == 2
    assert by_round[:2] != by_round[2:4] or by_round[2:4] != by_round[4:]

    for done in (2, 3, 5):
        again = make_trainer(**given)
        again.train(resume_from_checkpoint=str(tmp_path / "run" / f"checkpoint-{done}"))

        assert [[one.start.row.task_id for one in this.completions] for this in again.seen] == by_round[done:]


def test_checkpoint_and_final_folder_have_curriculum_and_state(make_trainer, problems, tmp_path):
    rows = with_solution(problems, "def sign(x):\n    return 7\n")
    trainer = make_trainer(dataset=rows, texts=[RIGHT], **RUN)
    trainer.train()
    trainer.save_model()

    for folder in ("checkpoint-2", "."):
        state = json.loads((tmp_path / "run" / folder / "stepcoder_state.json").read_text())
        curriculum = json.loads((tmp_path / "run" / folder / "curriculum.json").read_text())
        assert state["rounds"] == {"checkpoint-2": 2, ".": 4}[folder]
        assert state["solutions"]["failing"] == {"sign/0": "failed"}
        assert state["num_rows"] == 8
        assert curriculum["problems"]["sign/0"]["stage"] == 0


def test_curriculum_state_continues(make_trainer, tmp_path):
    first = make_trainer(texts=[RIGHT], **RUN)
    first.train()
    again = make_trainer(texts=[RIGHT], **{**RUN, "max_steps": 6})
    again.train(resume_from_checkpoint=True)

    assert [this.number for this in again.seen] == [4, 5]
    assert again.curriculum.summary()["curriculum/scratch_share"] == 1.0
    assert {start.stage.stage for this in again.seen for start in this.starts} == {0}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_generations": 2}, "`num_generations` 4"),
        ({"gradient_accumulation_steps": 1}, "`batch_size` 8"),
        ({"dataset": "fewer"}, "on other problems: 8 then, 4 now"),
    ],
)
def test_checkpoint_of_another_run_is_refused(make_trainer, problems, changes, message):
    make_trainer(texts=[RIGHT], **RUN).train()
    changes = {**changes, **({"dataset": problems[:4]} if "dataset" in changes else {})}

    with pytest.raises(BadInputError, match=message):
        make_trainer(texts=[RIGHT], **{**RUN, **changes}).train(resume_from_checkpoint=True)


def test_missing_checkpoint_is_named(make_trainer, tmp_path):
    with pytest.raises(BadInputError, match="No checkpoint in"):
        make_trainer().train(resume_from_checkpoint=True)
    (tmp_path / "other").mkdir()
    with pytest.raises(BadInputError, match=r"has no `stepcoder_state\.json`"):
        make_trainer().train(resume_from_checkpoint=str(tmp_path / "other"))


def test_failing_sandbox_stops_training_with_a_checkpoint(make_trainer, executor, tmp_path):
    # Two rounds pass, then every program is lost.
    failing = Answers(executor, chain(repeat(None, 16), cycle([DISK_FULL])))
    whole = make_trainer(output_dir=str(tmp_path / "whole"), **{**RUN, "save_strategy": "no"})
    whole.train()
    trainer = make_trainer(keywords={"executor": failing}, **{**RUN, "save_strategy": "no"})

    with pytest.raises(SandboxError, match="8 of 8 programs could not be run"):
        trainer.train()

    again = make_trainer(**{**RUN, "save_strategy": "no"})
    again.train(resume_from_checkpoint=str(tmp_path / "run" / "checkpoint-2"))
    assert [this.results for this in again.seen] == [this.results for this in whole.seen[2:]]
    for name, weight in weights(whole).items():
        assert torch.equal(weights(again)[name], weight), name


class Killed(TrainerCallback):
    """Sends a signal during an update, counted from 1."""

    def __init__(self, update, number):
        self.update, self.number = update, number

    def on_optimizer_step(self, args, state, control, **_):
        if state.global_step + 1 == self.update:
            os.kill(os.getpid(), self.number)


@pytest.mark.parametrize(
    ("update", "number", "options"),
    [(2, signal.SIGINT, {}), (2, signal.SIGTERM, {}), (1, signal.SIGINT, {"num_iterations": 2})],
    ids=["ctrl-c", "sigterm", "within a round"],
)
def test_signal_stops_training_with_a_checkpoint(make_trainer, tmp_path, update, number, options):
    run = {**RUN, "save_strategy": "no", **options}
    whole = make_trainer(output_dir=str(tmp_path / "whole"), keywords={"reward_funcs": letters}, **run)
    whole.train()
    trainer = make_trainer(keywords={"reward_funcs": letters, "callbacks": [Killed(update, number)]}, **run)
    handlers = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)

    with pytest.raises(SystemExit if number == signal.SIGTERM else KeyboardInterrupt):
        trainer.train()

    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == handlers
    again = make_trainer(keywords={"reward_funcs": letters}, **run)
    again.train(resume_from_checkpoint=str(tmp_path / "run" / "checkpoint-2"))
    assert [this.results for this in trainer.seen + again.seen] == [this.results for this in whole.seen]
    for name, weight in weights(whole).items():
        assert torch.equal(weights(again)[name], weight), name


def test_checkpoint_of_a_signal_stays_beside_the_best_one(make_trainer, problems, tmp_path):
    best = {"load_best_model_at_end": True, "metric_for_best_model": "eval_pass@1", "greater_is_better": False}
    options = {"eval_strategy": "steps", "eval_steps": 1, "save_steps": 1, "save_total_limit": 1}
    given = {"callbacks": [Killed(3, signal.SIGINT)], "eval_dataset": problems[:4]}
    trainer = make_trainer(texts=[WRONG, RIGHT], keywords=given, **{**RUN, **options, **best})

    with pytest.raises(KeyboardInterrupt):
        trainer.train()

    assert (tmp_path / "run" / "checkpoint-3").is_dir()
    assert trainer.state.global_step == 3


def test_few_lost_programs_are_left_out(make_trainer, executor):
    answers = Answers(executor, cycle([None] * 7 + [DISK_FULL]))
    trainer = make_trainer(keywords={"executor": answers}, texts=[RIGHT, WRONG], max_infrastructure_error_rate=0.2)
    trainer.train()

    assert trainer.seen[0].scores[:7] == pytest.approx([1.0, -0.3] * 3 + [1.0])
    assert trainer.seen[0].scores[7] is None
    entry = next(entry for entry in trainer.state.log_history if "executor/infrastructure_errors" in entry)
    assert entry["executor/infrastructure_errors"] == 1
