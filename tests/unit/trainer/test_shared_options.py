"""Options with range and help text."""

from __future__ import annotations

import copy
import dataclasses
import pickle
from typing import Literal

import pytest
from transformers import TrainingArguments

from stepcoder_trl.errors import BadInputError
from stepcoder_trl.trainer.ppo_config import StepCoderPPOConfig
from stepcoder_trl.trainer.shared_options import (
    Help,
    SharedOptions,
    check_config,
    check_options,
    in_range,
    option,
    options_table,
)


@dataclasses.dataclass
class Options:
    share: float = option(0.5, "Share | of all.", interval="(0, 1]", source="ours")
    size: int | None = option(None, "Size.", interval="[1, inf)", source="ours")
    clip: float | None = option(None, "Clip.", interval="(0, inf)", source="ours", fix="Leave it out not to clip.")
    mode: Literal["a", "b"] | None = option("a", "Mode.", source="paper")
    inherited: int = 3


@pytest.mark.parametrize(
    ("value", "allowed", "inside"),
    [
        (0, "[0, 1]", True),
        (1, "[0, 1]", True),
        (0, "(0, 1]", False),
        (1, "[0, 1)", False),
        (10**9, "[1, inf)", True),
        (float("nan"), "(0, inf)", False),
    ],
)
def test_range_includes_or_excludes_its_ends(value, allowed, inside):
    assert in_range(value, allowed) == inside


def test_invalid_range_is_an_error():
    with pytest.raises(ValueError, match="is no interval"):
        in_range(1, "from 0 to 1")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"share": 0.0}, r"`share` is 0.0, but must be in \(0, 1\]. Leave it out for the default."),
        (
            {"share": "0.5"},
            r"`share` is '0.5', but must be a number in \(0, 1\]. Write it without quotes.",
        ),
        ({"share": 50}, r"`share` is 50, but must be in \(0, 1\]. It is a fraction: write 0.5 for 50%."),
        ({"clip": -1}, "`clip` is -1, but must be above 0 or `None`. Leave it out not to clip."),
        ({"share": None}, "`share` is None"),
        ({"size": 0}, "`size` is 0, but must be at least 1 or `None`"),
        ({"mode": "c"}, "`mode` is 'c', but must be one of 'a', 'b', None"),
        ({"inherited": -1}, "`inherited` is -1, but must be above 0. Write 1."),
    ],
)
def test_wrong_value_is_named(changes, message):
    with pytest.raises(BadInputError, match=message):
        check_options(Options(**changes), {"inherited": Help("", interval="(0, inf)", fix="Write 1.")})


def test_defaults_are_allowed():
    check_options(Options(mode=None), {"inherited": Help("", interval="(0, inf)")})


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, lambda text: pickle.loads(pickle.dumps(text))])
def test_description_can_be_copied(copied):
    text = copied({one.name: one for one in dataclasses.fields(Options)}["clip"].metadata["help"])

    assert (text, text.source, text.interval, text.fix) == ("Clip.", "ours", "(0, inf)", "Leave it out not to clip.")


def test_table_has_one_row_per_option():
    assert options_table(Options, ["share", "mode"]).splitlines()[2:] == [
        "| `share` | `0.5` | Share \\| of all. | ours |",
        '| `mode` | `"a"` | Mode. | paper |',
    ]


def test_shared_options_reach_curriculum_mask_and_executor():
    options = SharedOptions(curriculum="mix", fgo="random", compile_error_mask="up_to_error_line", executor_workers=3)

    assert (options.curriculum_config(seed=7).mode, options.curriculum_config(seed=7).seed) == ("mix", 7)
    assert (options.mask_rule(seed=7).fgo, options.mask_rule(seed=7).seed) == ("random", 7)
    assert options.executor_choice(8).config.num_workers == 3
    assert SharedOptions().executor_choice(8).config.num_workers == 8


@pytest.mark.parametrize(
    ("args", "found"),
    [
        (TrainingArguments("run", report_to="none"), "a `TrainingArguments`"),
        ({"output_dir": "run"}, "{'output_dir': 'run'} (dict)"),
        ("model", "'model' (str)"),
        (None, "None"),
    ],
)
def test_configuration_of_another_trainer_is_refused(args, found):
    with pytest.raises(BadInputError) as raised:
        check_config(args, StepCoderPPOConfig)

    assert str(raised.value).startswith(f"`args` is {found}, but must be a `StepCoderPPOConfig`")
