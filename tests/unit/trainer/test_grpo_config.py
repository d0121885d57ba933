"""Configuration of the GRPO trainer. Refusals are in tests/integration/grpo."""

from __future__ import annotations

import pytest
from trl import GRPOConfig

from stepcoder_trl import StepCoderGRPOConfig
from stepcoder_trl.errors import BadInputError
from stepcoder_trl.trainer._trl_grpo import SCALES_LOSS_WRONGLY, trl_version
from stepcoder_trl.trainer.shared_options import SharedOptions


OWN = list(StepCoderGRPOConfig.__annotations__)
NEEDS_RIGHT_SCALE = pytest.mark.skipif(
    SCALES_LOSS_WRONGLY.contains(trl_version(), prereleases=True),
    reason="this TRL scales the loss wrongly where steps per generation are not the accumulated ones: that is refused",
)

pytestmark = pytest.mark.filterwarnings("ignore:.*(gradient|activation)_checkpointing:FutureWarning")  # TRL's own


def make(tmp_path, **changes):
    return StepCoderGRPOConfig(output_dir=str(tmp_path), use_cpu=True, report_to="none", **changes)


def test_other_defaults_are_those_of_upstream(tmp_path):
    ours, theirs = make(tmp_path), GRPOConfig(output_dir=str(tmp_path), use_cpu=True, report_to="none", bf16=False)
    own = {*OWN, "logging_dir", "logging_steps"}
    other = {name: value for name, value in vars(theirs).items() if name not in own}

    found = vars(ours)
    assert {name for name, value in other.items() if found[name] != value} <= {
        *("activation_checkpointing", "activation_checkpointing_kwargs", "distributed_state"),
        *("deepspeed_plugin", "accelerator_config"),
    }


@pytest.mark.parametrize(
    ("given", "steps"),
    [
        ({"num_generations": 16}, 2),
        ({"num_generations": 12, "per_device_train_batch_size": 8}, 3),
        ({"num_generations": 4}, 1),
        ({"num_generations": 16, "gradient_accumulation_steps": 6}, 6),
        pytest.param({"num_generations": 16, "generation_batch_size": 32}, 1, marks=NEEDS_RIGHT_SCALE),
    ],
)
def test_update_is_whole_groups_where_accumulation_is_not_given(tmp_path, given, steps):
    assert make(tmp_path, **given).gradient_accumulation_steps == steps


def test_options_of_curriculum_mask_and_executor_are_those_of_ppo(tmp_path):
    args = make(tmp_path, curriculum_leave_solved=False, executor_workers=3, fgo="random")

    assert isinstance(args, SharedOptions)
    assert not args.curriculum_config(seed=1).leave_solved
    assert make(tmp_path).curriculum_config(seed=1).leave_solved
    assert (args.executor_choice(1).config.num_workers, args.mask_rule(2).fgo) == (3, "random")


@pytest.mark.parametrize("name", ["learning_rate", "weight_decay", "top_p", "epsilon", "repetition_penalty", "min_p"])
def test_numbers_of_upstream_that_make_no_sense_are_refused(tmp_path, name):
    with pytest.raises(BadInputError, match=f"`{name}` is -1.0, but must be"):
        StepCoderGRPOConfig(output_dir=str(tmp_path), **{name: -1.0})


def test_number_that_yaml_takes_for_text_is_refused_with_the_fix(tmp_path):
    with pytest.raises(BadInputError, match=r"`learning_rate` is '5e-7', .* in YAML as 5\.0e-7"):
        StepCoderGRPOConfig(output_dir=str(tmp_path), learning_rate="5e-7")


def test_unknown_loss_is_refused_before_training(tmp_path):
    with pytest.raises(BadInputError, match="`loss_type` is 'dapoo', but must be one of grpo, dr_grpo, dapo"):
        make(tmp_path, loss_type="dapoo")


def test_best_model_is_the_one_that_passes_most(tmp_path):
    best = make(tmp_path, load_best_model_at_end=True, eval_strategy="steps", save_strategy="steps", eval_steps=1)

    assert (best.metric_for_best_model, best.greater_is_better) == ("pass@1", True)
    assert make(tmp_path).metric_for_best_model is None
