"""GRPO starts problems at their measured stages, and samples as in training."""

from __future__ import annotations

import pytest

from stepcoder_trl.curriculum.measured import MEASUREMENT_FILE, StageRate, read_measurement
from stepcoder_trl.errors import BadInputError
from tests.integration.grpo.helpers import history
from tests.integration.helpers import RIGHT, WRONG


pytestmark = pytest.mark.sandbox

MEASURED = {"curriculum_start": "measured", "curriculum_start_samples": 2, "max_steps": 1}


def file_of(trainer):
    return read_measurement(f"{trainer.args.output_dir}/{MEASUREMENT_FILE}")


def test_problems_start_where_half_of_the_samples_pass(make_trainer, problems):
    texts = [RIGHT, RIGHT, RIGHT, WRONG, WRONG, WRONG, WRONG, WRONG]
    trainer = make_trainer(dataset=problems[:2], texts=texts, **MEASURED)

    trainer.train()

    assert file_of(trainer) == [
        *(StageRate("sign/0", 1, 2, 2), StageRate("sign/0", 0, 1, 2)),
        *(StageRate("sign/1", 1, 0, 2), StageRate("sign/1", 0, 0, 2)),
    ]
    (this,) = trainer.seen
    stages = {start.row.task_id: start.stage.stage for start in this.starts}
    assert stages == {"sign/0": 0, "sign/1": 1}
    assert trainer.rounds == 1


def test_logs_and_samples_of_training_stay_as_they_are(make_trainer, problems):
    runs = []
    for start in ("first", "measured"):
        trainer = make_trainer(dataset=problems[:2], **{**MEASURED, "curriculum_start": start})
        trainer.train()  # the random model never passes: both start at the first stage
        completions = [one.text for this in trainer.seen for one in this.completions]
        runs.append((completions, history(trainer)))

    assert runs[0] == runs[1]


def test_checkpoint_continues_without_measuring(make_trainer, problems):
    options = {**MEASURED, "save_strategy": "steps", "save_steps": 1, "max_steps": 2}
    whole = make_trainer(dataset=problems[:2], texts=[RIGHT, RIGHT, RIGHT, WRONG], **options)
    whole.train()
    measured = file_of(whole)
    resumed = make_trainer(dataset=problems[:2], texts=[WRONG], overwrite_output_dir=False, **options)

    resumed.train(resume_from_checkpoint=f"{whole.args.output_dir}/checkpoint-1")

    assert len(resumed.seen) == 1
    assert file_of(resumed) == measured


def test_group_that_a_server_cannot_sample_is_refused(make_args):
    server = {"use_vllm": True, "vllm_mode": "server", "curriculum_start": "measured"}

    with pytest.raises(BadInputError, match="`num_generations` 4"):
        make_args(**server, curriculum_start_samples=6)


@pytest.mark.parametrize("mode", ["off", "adaptive"])
def test_curriculum_without_stages_cannot_be_measured(make_args, mode):
    with pytest.raises(BadInputError, match="`curriculum_start` is 'measured'"):
        make_args(curriculum=mode, curriculum_start="measured")
