"""Sizes of a run, and settings of its trainer."""

import pytest

from stepcoder_trl.errors import BadInputError
from stepcoder_trl.quickstart.settings import FAST, FULL, QuickstartConfig, Sizes, ppo_config


@pytest.mark.parametrize(
    ("changes", "named"),
    [({"updates": 0}, "`updates` is 0"), ({"prompts_per_update": 99}, "`prompts_per_update` is 99")],
)
def test_invalid_sizes_raise(changes, named):
    with pytest.raises(BadInputError, match=named):
        Sizes(**changes)


@pytest.mark.parametrize("sizes", [FULL, FAST, Sizes(prompts_per_update=3, num_generations=5)])
def test_batch_sizes_of_an_update_multiply_to_its_completions(sizes, tmp_path):
    args = ppo_config(QuickstartConfig(sizes=sizes), str(tmp_path), response_length=50)

    completions = sizes.prompts_per_update * sizes.num_generations
    assert args.per_device_train_batch_size * args.gradient_accumulation_steps == completions
    assert args.max_steps == sizes.updates


def test_training_uses_paper_curriculum_and_line_mask(tmp_path):
    args = ppo_config(QuickstartConfig(), str(tmp_path), response_length=50)

    assert (args.curriculum, args.fgo) == ("paper", "lines")
