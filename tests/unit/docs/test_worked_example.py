"""Numbers of the worked example on the page about training."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from stepcoder_trl import BadInputError, StepCoderPPOConfig
from stepcoder_trl.trainer.setup import plan_run


PAGE = (Path(__file__).parents[3] / "docs" / "trainer.md").read_text(encoding="utf-8")
SECTION = PAGE.partition("### A worked example")[2].partition("\n## ")[0]
FLAGS = dict(re.findall(r"--(per_device\w+|num_mini_batches|num_train_epochs) (\d+)", SECTION))


def plan(**changes):
    sizes = {**{name: int(value) for name, value in FLAGS.items()}, **changes}
    return plan_run(StepCoderPPOConfig(output_dir="run", use_cpu=True, report_to="none", **sizes), 500, True, 2)


def test_table_has_the_numbers_of_the_plan():
    numbers = [int(cell) for cell in re.findall(r"\| (\d+) \|$", SECTION, re.MULTILINE)]
    sizes = plan(gradient_accumulation_steps=8, num_generations=16)

    steps = sizes.local_batch_size // sizes.local_mini_batch_size
    assert numbers == [
        *(sizes.batch_size, sizes.prompts_per_update, steps, 2 * sizes.local_mini_batch_size),
        *(sizes.updates_per_epoch, sizes.num_updates),
    ]


def test_error_is_the_one_shown():
    (shown,) = re.findall(r"```text\n(.*?)```", SECTION, re.DOTALL)

    with pytest.raises(BadInputError) as caught:
        plan(gradient_accumulation_steps=8, num_generations=12)

    assert str(caught.value) == " ".join(shown.split())
