"""Runs that the GRPO trainer refuses, each with one sentence that says the fix."""

from __future__ import annotations

import pytest
from datasets import Dataset

from stepcoder_trl import BadInputError
from stepcoder_trl.trainer import _trl_grpo, grpo_config


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"tools": [print]}, "`tools` is not supported"),
        ({"rollout_func": print}, "`rollout_func` is not supported"),
        ({"environment_factory": dict}, "`environment_factory` is not supported"),
    ],
)
def test_arguments_that_put_other_text_into_completions(make_trainer, keywords, message):
    with pytest.raises(BadInputError, match=message):
        make_trainer(keywords=keywords)


@pytest.mark.parametrize(
    ("dataset", "message"),
    [
        ("gone.jsonl", "gone.jsonl"),
        ([], "`train_dataset` has no rows"),
        ([{"input_ids": [1, 2]}], "have `input_ids` and no `prompt`"),
        ([{"prompt": "a", "image": None}], "has images"),
        ([{"prompt": "a"}], r"Row 0 of `train_dataset` has no `tests`, and there are no `reward_funcs`"),
    ],
    ids=["missing", "empty", "tokens", "images", "no-reward"],
)
def test_datasets(make_trainer, dataset, message):
    with pytest.raises(BadInputError, match=message):
        make_trainer(dataset=dataset)


def test_missing_dataset(make_trainer, problems, make_policy, make_args, tokenizer):
    from stepcoder_trl import StepCoderGRPOTrainer

    with pytest.raises(BadInputError, match="`train_dataset` is missing"):
        StepCoderGRPOTrainer(make_policy(), args=make_args(), processing_class=tokenizer)
    with pytest.raises(BadInputError, match="`eval_dataset` has no rows"):
        make_trainer(keywords={"eval_dataset": []})


def test_streamed_dataset_is_read_once(make_trainer, problems):
    stream = Dataset.from_list([problem.to_row() for problem in problems]).to_iterable_dataset()

    assert len(make_trainer(dataset=stream).training_set.rows) == 8


def test_completions_longer_than_the_positions(make_trainer):
    with pytest.raises(BadInputError, match="`max_completion_length` 256 leaves no room in 256 positions"):
        make_trainer(max_completion_length=256)


def test_round_with_more_problems_than_there_are(make_trainer, problems):
    with pytest.raises(BadInputError, match=r"A round takes 2 problems .* only 1 rows"):
        make_trainer(dataset=problems[:1])


def test_problems_that_are_too_long_are_left_out(make_trainer, caplog):
    with pytest.raises(BadInputError, match="No row of `train_dataset` is usable: every query is too long"):
        make_trainer(max_prompt_length=3)
    assert "8 of 8 problems are left out" in caplog.text


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"generation_kwargs": {"seed": 1}}, '`generation_kwargs` has a "seed"'),
        ({"remove_unused_columns": True}, "`remove_unused_columns` is True"),
        (
            {"eval_strategy": "steps", "eval_steps": 1, "per_device_eval_batch_size": 6},
            "not a multiple of `num_generations`, 4. Set `per_device_eval_batch_size` to a multiple of 4, or",
        ),
        (
            {"eval_strategy": "steps", "eval_steps": 1, "num_generations_eval": 3, "per_device_eval_batch_size": 8},
            "`per_device_eval_batch_size` 8 x 1 processes = 8 completions, which is not .* `num_generations_eval`, 3",
        ),
        ({"vllm_mode": "colocated"}, "`vllm_mode` is 'colocated', but must be 'colocate' or 'server'"),
        ({"fgo_denominator": "all"}, "`fgo_denominator` is 'all', but must be one of 'kept', 'valid'"),
        ({"uninformative_groups": "drop"}, "`uninformative_groups` is 'drop'"),
        ({"scale_rewards": "std"}, "`scale_rewards` is 'std'"),
        ({"fgo_denominator": "valid", "importance_sampling_level": "sequence"}, "`importance_sampling_level` is 'seq"),
        ({"fgo_denominator": "valid", "loss_type": "vespo"}, "`loss_type` is 'vespo'"),
        ({"fgo_denominator": "valid", "use_liger_kernel": True}, "`use_liger_kernel` is on"),
        ({"fgo": "tests", "use_liger_kernel": True}, "Choose `fgo` 'lines'"),
        (
            {"fgo": "tests_random", "loss_type": "vespo"},
            "`fgo` is 'tests_random', which needs one advantage per token",
        ),
        ({"curriculum_momentum": 0}, "`curriculum_momentum` is 0"),
    ],
)
def test_options(make_args, options, message):
    with pytest.raises(BadInputError, match=message):
        make_args(**options)


def test_loss_that_old_releases_scale_wrongly(make_args, monkeypatch):
    monkeypatch.setattr(grpo_config, "trl_version", lambda: "1.11.0")
    with pytest.raises(BadInputError, match=r"`steps_per_generation` is 1 .* trl 1\.11\.0 scales the loss wrongly"):
        make_args(steps_per_generation=1)
    with pytest.raises(BadInputError, match=r"`loss_type` is 'luspo', for which trl 1\.11\.0 does not apply the mask"):
        make_args(loss_type="luspo")
    make_args()

    monkeypatch.setattr(grpo_config, "trl_version", lambda: "1.12.0")
    assert make_args(steps_per_generation=1).steps_per_generation == 1


@pytest.mark.parametrize(("given", "meant"), [(True, "group"), (False, "none"), (None, None), ("batch", "batch")])
def test_scale_takes_upstreams_booleans(make_args, given, meant):
    assert make_args(scale_rewards=given).scale_rewards == meant


def test_import_without_requests_names_the_fix():
    import subprocess
    import sys

    program = (
        "import sys\n"
        "sys.modules['requests'] = None\n"
        "import importlib.metadata as m\n"
        "from packaging.version import Version\n"
        "try:\n"
        "    import stepcoder_trl.trainer.grpo_trainer\n"
        "except ImportError as error:\n"
        "    print(error)\n"
        "else:\n"
        "    print('pip install requests' if Version(m.version('trl')) >= Version('1.14') else 'imported')\n"
    )

    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert "pip install requests" in done.stdout


# What upstream may change


class Parent:
    """Stand-in for a release of TRL with the methods that we override."""

    def _generate_and_score_completions(self, inputs): ...
    def _tokenize_prompts(self, prompts): ...
    def _generate_single_turn(self, prompt_ids, images, more): ...
    def _calculate_rewards(self, inputs, prompts, completions, completion_ids_list): ...
    def _generate(self, prompts): ...
    def _compute_loss(self, model, inputs): ...
    def _get_per_token_logps_and_entropies(self, model, input_ids, attention_mask, logits_to_keep, more): ...
    def _log_completion_extra(self, column, values): ...
    def _save_checkpoint(self, model, trial): ...
    def _get_train_sampler(self, dataset): ...


class Renamed(Parent):
    def _tokenize_prompts(self, texts): ...


class Longer(Parent):
    def _calculate_rewards(self, inputs, prompts, completions, completion_ids_list, tools): ...


class Without:
    _generate_and_score_completions = Parent._generate_and_score_completions


@pytest.mark.parametrize(
    ("parent", "method"),
    [(Renamed, "_tokenize_prompts"), (Longer, "_calculate_rewards"), (Without, "_tokenize_prompts")],
)
def test_changed_signatures_are_found(parent, method):
    _trl_grpo.check_hooks(Parent)

    with pytest.raises(RuntimeError, match=rf"^trl {_trl_grpo.trl_version()}: `{parent.__name__}.{method}` has"):
        _trl_grpo.check_hooks(parent)
