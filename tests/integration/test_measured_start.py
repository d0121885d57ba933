"""Start at the measured stage: what is sampled before the first update, what is saved, and an exact continuation."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from stepcoder_trl.curriculum.measured import MEASUREMENT_FILE, MeasurementFile, StageRate, read_measurement
from stepcoder_trl.errors import SandboxError
from tests.integration.helpers import DISK_FULL, RIGHT, WRONG, Answers


pytestmark = pytest.mark.sandbox

MEASURED = {"curriculum_start": "measured", "curriculum_start_samples": 2, "max_steps": 1}


def file_of(trainer):
    return read_measurement(f"{trainer.args.output_dir}/{MEASUREMENT_FILE}")


def stages_of(trainer):
    return [trainer.curriculum.stage(row.task_id) for row in trainer.rows]


class Stop(Exception):
    """Raised by a test in the middle of a measurement."""


def test_problems_start_where_half_of_the_samples_pass(make_trainer, script, problems):
    # Groups of two, in the order first stage, scratch of each problem: rates 1 and 1/2, then 0 and 0.
    script(RIGHT, RIGHT, RIGHT, WRONG, WRONG, WRONG, WRONG, WRONG)
    trainer = make_trainer(dataset=problems[:2], **MEASURED)
    stages = []
    trainer.on_update = lambda update: stages.extend(start.stage.stage for start in update.rollout.starts)

    trainer.train()

    assert file_of(trainer) == [
        *(StageRate("sign/0", 1, 2, 2), StageRate("sign/0", 0, 1, 2)),
        *(StageRate("sign/1", 1, 0, 2), StageRate("sign/1", 0, 0, 2)),
    ]
    assert sorted(stages) == [0, 0, 1, 1]
    assert trainer.curriculum.summary()["curriculum/advanced"] == 0


def test_starts_come_from_the_file_of_another_measurement(make_trainer, problems, tmp_path):
    rates = [StageRate("sign/0", 1, 2, 2), StageRate("sign/0", 0, 1, 2), StageRate("other", 0, 1, 2)]
    path = tmp_path / "stages.jsonl"
    MeasurementFile(path, {"model": "another"}).write(rates)
    trainer = make_trainer(dataset=problems[:2], curriculum_start_file=str(path), **MEASURED)

    trainer.train()

    assert len(trainer.seen) == 1  # nothing was sampled beside the update
    assert stages_of(trainer) == [0, 1]
    assert file_of(trainer) == rates[:2]


def test_training_draws_the_same_with_and_without_a_measurement(make_trainer, problems):
    runs = []
    for start in ("first", "measured"):
        trainer = make_trainer(dataset=problems[:2], **{**MEASURED, "curriculum_start": start})
        trainer.train()  # the random model never passes: both start at the first stage
        runs.append([rollout.generation.response_ids.tolist() for rollout, *_ in trainer.seen])

    assert runs[0] == runs[1]


def test_measurement_goes_on_after_a_kill_with_equal_samples(make_trainer, problems, tmp_path):
    whole = make_trainer(dataset=problems[:3], output_dir=str(tmp_path / "whole"), **MEASURED)
    whole.train()
    killed = make_trainer(dataset=problems[:3], **MEASURED)
    sample, calls = killed.generate, []

    def fail(*args, **keywords):
        calls.append(None)
        if len(calls) == 2:
            raise Stop
        return sample(*args, **keywords)

    killed.generate = fail
    texts = []
    with pytest.raises(Stop):
        killed.train()
    saved = file_of(killed)
    resumed = make_trainer(dataset=problems[:3], overwrite_output_dir=False, **MEASURED)  # nothing to overwrite
    resumed.generate = lambda *args, **keywords: texts.append(len(args[1])) or sample(*args, **keywords)
    resumed.train()

    assert len(saved) == 2
    assert file_of(resumed) == file_of(whole)
    assert texts[:2] == [4, 4]  # the two batches that were missing
    assert len(texts) == 3  # and that of the update
    assert stages_of(resumed) == stages_of(whole)


@pytest.mark.parametrize("change", [{"temperature": 0.3}, {"curriculum_start_samples": 1}, {"seed": 5}])
def test_measurement_of_other_settings_is_not_taken(make_trainer, script, problems, change):
    script(RIGHT)
    make_trainer(dataset=problems[:2], **MEASURED).train()
    script(WRONG)
    trainer = make_trainer(dataset=problems[:2], **{**MEASURED, **change})

    trainer.train()

    assert {one.passed for one in file_of(trainer)} == {0}


def test_measurement_of_another_model_or_problem_is_not_taken(make_trainer, make_policy, script, problems):
    script(RIGHT)
    make_trainer(dataset=problems[:2], **MEASURED).train()
    script(WRONG)
    trainer = make_trainer(policy=make_policy(seed=5), dataset=problems[:2], **MEASURED)
    trainer.train()
    assert {one.passed for one in file_of(trainer)} == {0}

    script(RIGHT)
    trainer = make_trainer(policy=make_policy(seed=5), dataset=problems[1:3], **MEASURED)
    trainer.train()
    assert {(one.task_id, one.passed) for one in file_of(trainer)} == {("sign/1", 2), ("sign/2", 2)}


def test_checkpoint_continues_without_measuring(make_trainer, script, problems):
    options = {**MEASURED, "save_strategy": "steps", "save_steps": 1, "max_steps": 2}
    script(RIGHT, RIGHT, RIGHT, WRONG, WRONG, WRONG, WRONG, WRONG)
    whole = make_trainer(dataset=problems[:2], **options)
    whole.train()
    script(RIGHT)
    checkpoint, measured = Path(whole.args.output_dir) / "checkpoint-1", file_of(whole)
    resumed = make_trainer(dataset=problems[:2], overwrite_output_dir=False, **options)

    resumed.train(resume_from_checkpoint=str(checkpoint))

    assert len(resumed.seen) == 1
    assert file_of(resumed) == measured
    saved = json.loads((checkpoint / "curriculum.json").read_text())
    assert {name: one["stage"] for name, one in saved["problems"].items()} == {"sign/0": 0, "sign/1": 1}


def test_failing_sandbox_stops_a_measurement_without_a_checkpoint(make_trainer, executor, script, problems, tmp_path):
    script(RIGHT)
    broken = {"executor": Answers(executor, [None, DISK_FULL, DISK_FULL, DISK_FULL])}
    trainer = make_trainer(dataset=problems[:2], keywords=broken, **MEASURED)

    with pytest.raises(SandboxError, match="could not be run"):
        trainer.train()

    assert not list((tmp_path / "run").glob("checkpoint-*"))
