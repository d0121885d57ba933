from __future__ import annotations

import ast
import dataclasses
import fnmatch
import re
from pathlib import Path

import pytest
from transformers import TrainingArguments
from trl import TrlParser

from stepcoder_trl.errors import BadInputError
from stepcoder_trl.trainer import StepCoderPPOConfig
from stepcoder_trl.trainer.ppo_config import WITHOUT_EFFECT, options_without_effect
from stepcoder_trl.trainer.shared_options import SharedOptions, idle_settings, options_table
from stepcoder_trl.trainer.vllm_options import VLLMOptions


OWN = [*StepCoderPPOConfig.__annotations__, *SharedOptions.__dataclass_fields__]


def make(**changes):
    return StepCoderPPOConfig(output_dir="run", use_cpu=True, report_to="none", **changes)


def test_defaults():
    args = make()

    assert {name: getattr(args, name) for name in OWN} == {
        "learning_rate": 5e-7,
        "value_learning_rate": 1.5e-6,
        "num_generations": None,
        "temperature": 0.8,
        "top_p": 0.9,
        "response_length": 1024,
        "stop_token": "eos",
        "max_prompt_length": None,
        "num_ppo_epochs": 1,
        "num_mini_batches": 1,
        "critic_warmup_steps": 0,
        "whiten_advantages": True,
        "reward_weights": None,
        "error_token_penalty": 0.0,
        "reward_clip": None,
        "gradient_accumulation_steps": None,
        "logging_steps": 1,
        "overwrite_output_dir": False,
        "curriculum": "paper",
        "curriculum_kinds": "statements",
        "curriculum_pass_rate": 0.5,
        "curriculum_momentum": 0.3,
        "curriculum_rate_of": "problem",
        "curriculum_pass_score": None,
        "curriculum_mix_probability": 0.1,
        "curriculum_start": "first",
        "curriculum_start_samples": 4,
        "curriculum_start_file": None,
        "prefix_imitation": 0.0,
        "hub_record": False,
        "fgo": "lines",
        "fgo_outside_program": True,
        "compile_error_mask": "all",
        "score_tests": "worst",
        "executor_workers": None,
        "executor": None,
        "executor_urls": None,
        "test_timeout_s": 3.0,
        "untrusted_passes": "accept",
        "eval_num_generations": 1,
        "eval_pass_at": None,
        "eval_temperature": 0.2,
        "eval_top_p": 0.95,
        "eval_response_length": None,
        "max_infrastructure_error_rate": 0.1,
        "chat_template_kwargs": None,
        "log_completions": False,
        "num_completions_to_print": 4,
        "training_data_name": None,
        "training_data_license": None,
        "eval_data_name": None,
        "bf16": False,
    }
    upstream = (args.kl_coef, args.gamma, args.lam, args.cliprange, args.cliprange_value, args.vf_coef)
    assert upstream == (0.05, 1.0, 0.95, 0.2, 0.2, 0.1)
    assert args.max_grad_norm == 1.0


def test_every_option_has_a_help_text():
    texts = {one.name: one.metadata.get("help") for one in dataclasses.fields(StepCoderPPOConfig)}

    for name in OWN:
        assert texts[name].endswith("."), name
        assert texts[name].source, name


def test_every_field_can_be_given_on_the_command_line():
    parser = TrlParser(StepCoderPPOConfig)
    flags = {
        "--value_learning_rate": "1e-5",
        "--num_generations": "4",
        "--top_p": "1.0",
        "--max_prompt_length": "512",
        "--critic_warmup_steps": "3",
        "--whiten_advantages": "false",
        "--reward_clip": "0.8",
        "--curriculum": "mix",
        "--curriculum_kinds": "scope",
        "--curriculum_pass_rate": "0.7",
        "--curriculum_momentum": "0.2",
        "--curriculum_rate_of": "stage",
        "--curriculum_pass_score": "0.1",
        "--curriculum_mix_probability": "0.4",
        "--curriculum_start": "measured",
        "--curriculum_start_samples": "8",
        "--prefix_imitation": "0.2",
        "--fgo": "random",
        "--fgo_outside_program": "false",
        "--compile_error_mask": "up_to_error_line",
        "--executor_workers": "2",
        "--test_timeout_s": "1.5",
        "--untrusted_passes": "drop",
        "--num_mini_batches": "2",
        "--gradient_accumulation_steps": "4",
    }
    words = [word for pair in flags.items() for word in pair]

    (args,) = parser.parse_args_and_config(["--output_dir", "run", "--use_cpu", "--report_to", "none", *words])

    for flag, word in flags.items():
        value = getattr(args, flag.removeprefix("--"))
        assert str(value).lower() == word.lower() or float(value) == float(word)
    assert args.stop_token == "eos"
    assert parser.format_help()  # argparse formats every help text


def test_command_line_overrides_configuration_file(tmp_path):
    file = tmp_path / "ppo.yaml"
    file.write_text(
        "output_dir: run\nuse_cpu: true\nreport_to: none\nfgo: 'off'\ncurriculum: 'off'\nreward_clip: 0.8\n"
    )

    (args,) = TrlParser(StepCoderPPOConfig).parse_args_and_config(["--config", str(file), "--curriculum", "adaptive"])

    assert (args.fgo, args.curriculum, args.reward_clip) == ("off", "adaptive", 0.8)


@pytest.mark.parametrize(
    ("changes", "parts"),
    [
        ({"curriculum_pass_rate": 50.0}, ["`curriculum_pass_rate` is 50.0", "[0, 1]", "0.5 for 50%"]),
        ({"curriculum_momentum": 0.0}, ["`curriculum_momentum` is 0.0", "(0, 1]", "Write 1 to count the newest"]),
        ({"curriculum_mix_probability": -1.0}, ["`curriculum_mix_probability` is -1.0", "[0, 1]"]),
        (
            {"curriculum": False},
            ["`curriculum` is False, but must be one of", "Write 'off' to turn it off."],
        ),
        ({"fgo": False}, ["`fgo` is False", "Write 'off' to turn it off."]),
        ({"fgo": "line"}, ["`fgo` is 'line'", "Check the spelling."]),
        (
            {"lr_scheduler_type": "warmup_stable_decay", "lr_scheduler_kwargs": {"num_decays": 3}},
            [
                "`lr_scheduler_type` is 'warmup_stable_decay'",
                "does not fit `lr_scheduler_kwargs` {'num_decays': 3}",
            ],
        ),
        ({"curriculum_start": "best"}, ["`curriculum_start` is 'best'", "'first', 'measured'"]),
        ({"curriculum_start": "measured", "curriculum": "adaptive"}, ["'adaptive'", "'paper' or 'mix'"]),
        ({"curriculum_start": "measured", "curriculum": "off"}, ["'off'", "'paper' or 'mix'"]),
        (
            {"prefix_imitation": 0.2, "curriculum": "off"},
            [
                "`prefix_imitation` is 0.2, which has no effect with `curriculum` 'off'",
                "or leave `prefix_imitation` out",
            ],
        ),
        ({"curriculum_rate_of": "stage", "curriculum": "adaptive"}, ["no effect", "'paper' or 'mix'"]),
        ({"curriculum_start_file": "x"}, ["no effect with `curriculum_start` 'first'"]),
        (
            {"curriculum_start_file": "none.jsonl", "curriculum_start": "measured"},
            ["`curriculum_start_file` is 'none.jsonl', which holds no measurement", "--measure-stages"],
        ),
        ({"curriculum_start_samples": 0}, ["`curriculum_start_samples` is 0", "at least 1"]),
        ({"prefix_imitation": -0.1}, ["`prefix_imitation` is -0.1", "at least 0", "0.2 was measured"]),
        ({"top_p": 90.0}, ["`top_p` is 90.0", "(0, 1]", "0.9 for 90%"]),
        ({"temperature": 0.0}, ["`temperature` is 0.0", "above 0"]),
        ({"test_timeout_s": -1.0}, ["`test_timeout_s` is -1.0"]),
        ({"num_generations": 0}, ["`num_generations` is 0", "at least 1 or `None`"]),
        ({"num_ppo_epochs": 0}, ["`num_ppo_epochs` is 0", "at least 1"]),
        ({"critic_warmup_steps": -1}, ["`critic_warmup_steps` is -1", "at least 0"]),
        ({"error_token_penalty": -0.3}, ["`error_token_penalty` is -0.3", "at least 0"]),
        ({"reward_clip": 0.0}, ["`reward_clip` is 0.0", "above 0", "Leave it out not to clip."]),
        ({"missing_eos_penalty": -1.0}, ["`missing_eos_penalty` is -1.0", "It is subtracted as it stands."]),
        ({"kl_coef": -1.0}, ["`kl_coef` is -1.0", "at least 0"]),
        ({"gamma": 2.0}, ["`gamma` is 2.0", "[0, 1]"]),
        ({"cliprange": 0.0}, ["`cliprange` is 0.0", "above 0"]),
        ({"fgo": "line"}, ["`fgo` is 'line'", "'lines', 'off', 'random'"]),
        ({"curriculum": "none"}, ["`curriculum` is 'none'", "'paper'"]),
        ({"compile_error_mask": "none"}, ["`compile_error_mask` is 'none'"]),
        ({"kl_estimator": "k2"}, ["`kl_estimator` is 'k2'", "'k1', 'k3'"]),
        ({"stop_token": "period"}, ["`stop_token` is 'period'"]),
        (
            {"num_mini_batches": 4, "gradient_accumulation_steps": 6},
            ["`num_mini_batches` is 4", "which is 6", "[1, 2, 3, 6]", "to 8"],
        ),
    ],
)
def test_error_names_wrong_value_and_allowed_values(changes, parts):
    with pytest.raises(ValueError) as error:
        make(**changes)

    for part in parts:
        assert part in str(error.value)


def test_bf16_is_off_by_default_on_the_cpu():
    assert make().bf16 is False
    assert make(bf16=True).bf16 is True


def test_settings_of_what_is_off_are_named():
    assert idle_settings(make(curriculum="off", fgo="off")) == []
    assert idle_settings(make(curriculum_momentum=0.1, compile_error_mask="up_to_error_line")) == []
    assert idle_settings(make(curriculum="off", curriculum_momentum=0.1)) == [
        "`curriculum_momentum` (with `curriculum` 'off')"
    ]
    found = idle_settings(make(fgo="off", fgo_outside_program=False, curriculum_mix_probability=0.5))
    assert found == [
        "`curriculum_mix_probability` (with `curriculum` 'paper')",
        "`fgo_outside_program` (with `fgo` 'off')",
    ]


@pytest.mark.parametrize("value", [True, False])
def test_both_names_of_gradient_checkpointing_have_the_same_value(value):
    assert make(gradient_checkpointing=value).gradient_checkpointing is value


def test_number_of_processes_is_read_from_the_environment(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "1")

    assert make().world_size == 1


def test_a_copy_of_the_configuration_is_equal():
    args = make(curriculum="mix", fgo="random")

    again = dataclasses.replace(args)

    assert {name: getattr(again, name) for name in OWN} == {name: getattr(args, name) for name in OWN}


def test_options_without_effect_are_found():
    idle = make(neftune_noise_alpha=5.0, data_seed=3, full_determinism=True, sft_model_path="models/sft")

    assert options_without_effect(make()) == []
    assert set(options_without_effect(idle)) == {
        "neftune_noise_alpha",
        "data_seed",
        "full_determinism",
        "sft_model_path",
    }


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"lr_scheduler_type": "reduce_lr_on_plateau", "eval_strategy": "epoch"}, "`lr_scheduler_type`"),
        ({"deepspeed": "ds.json"}, "deepspeed_config_file"),
        ({"fsdp": "full_shard"}, "FSDP is not supported"),
    ],
)
def test_unsupported_options_of_transformers_are_refused(changes, message):
    with pytest.raises(BadInputError, match=message):
        make(**changes)


OPTIONS = (Path(__file__).parents[3] / "docs" / "reference" / "options.md").read_text(encoding="utf-8")
USED = {
    *("activation_checkpointing", "activation_checkpointing_kwargs", "adam_beta1", "adam_beta2", "adam_epsilon"),
    *("bf16", "ddp_backend", "ddp_timeout", "deepspeed", "disable_tqdm", "do_eval", "do_predict", "do_train"),
    *("eval_delay", "eval_on_start", "eval_steps", "eval_strategy", "fp16", "fsdp", "fsdp_config"),
    *("gradient_accumulation_steps", "gradient_checkpointing", "gradient_checkpointing_kwargs", "greater_is_better"),
    *("hub_always_push", "hub_model_id", "hub_private_repo", "hub_revision", "hub_strategy", "hub_token"),
    *("learning_rate", "load_best_model_at_end", "local_rank", "log_level", "logging_first_step", "logging_steps"),
    *("logging_strategy", "lr_scheduler_kwargs", "lr_scheduler_type", "max_grad_norm", "max_steps"),
    *("metric_for_best_model", "num_train_epochs", "optim", "optim_args", "optim_target_modules", "output_dir"),
    *("per_device_eval_batch_size", "per_device_train_batch_size", "project", "push_to_hub", "report_to"),
    *("restore_callback_states_from_checkpoint", "resume_from_checkpoint", "run_name", "save_only_model"),
    *("save_steps", "save_strategy", "save_total_limit", "seed", "tf32", "trackio_bucket_id", "trackio_space_id"),
    *("trackio_static_space_id", "use_cpu", "warmup_steps", "weight_decay"),
    *("logging_dir", "warmup_ratio"),  # of transformers 5.0 and 5.1 alone
}


def test_every_option_of_transformers_is_used_or_documented():
    """A new option of a later release must be added to `USED` or to the documentation."""
    listed = OPTIONS.split("These have no effect here:")[1].split("A warning names those")[0]
    patterns = re.findall(r"`([a-z_0-9*]+)`", listed)
    theirs = {field.name for field in dataclasses.fields(TrainingArguments)}
    idle = {name for name in theirs if any(fnmatch.fnmatch(name, pattern) for pattern in patterns)}

    assert theirs - idle <= USED
    assert not idle & USED
    assert theirs & WITHOUT_EFFECT <= idle


def test_arguments_of_the_chat_template_are_read(tmp_path):
    path = tmp_path / "run.yaml"
    path.write_text(f"output_dir: {tmp_path}\nuse_cpu: true\nchat_template_kwargs: {{enable_thinking: false}}\n")
    parser = TrlParser((StepCoderPPOConfig,))

    (from_yaml,) = parser.parse_args_and_config(["--config", str(path)])
    (from_flag,) = TrlParser((StepCoderPPOConfig,)).parse_args_and_config(
        ["--output_dir", str(tmp_path), "--use_cpu", "--chat_template_kwargs", '{"enable_thinking": false}']
    )

    assert from_yaml.chat_template_kwargs == from_flag.chat_template_kwargs == {"enable_thinking": False}


def test_table_of_options_has_default_meaning_and_source():
    table = options_table(StepCoderPPOConfig, ["top_p", "stop_token"])

    assert table.splitlines()[2] == (
        "| `top_p` | `0.9` | Probability mass of the likeliest tokens that are sampled from, in (0, 1]. | paper, 4.2 |"
    )
    assert table.splitlines()[3].startswith('| `stop_token` | `"eos"` | `"eos"` ends a completion at each EOS token')


def test_options_of_vllm_are_those_of_grpo():
    from trl import GRPOConfig

    theirs = {field.name: field.default for field in dataclasses.fields(GRPOConfig)}

    for name in VLLMOptions.__annotations__:
        assert getattr(make(), name) == theirs[name], name


def test_documented_defaults_of_upstream_options():
    defaults = {field.name: field.default for field in dataclasses.fields(StepCoderPPOConfig)}
    compared = set()
    table = OPTIONS.split("### Options of upstream")[1]
    for cell, given in re.findall(r"^\| (`[a-z_0-9`, ]+`) \| ([^|]+) \|", table, re.MULTILINE):
        names = re.findall(r"`([a-z_0-9]+)`", cell)
        values = [ast.literal_eval(one.strip("` ")) for one in given.split(", ") if one.strip()]
        if values:
            values *= len(names) // len(values)
            assert [defaults[name] for name in names] == values
            compared.update(names)

    assert compared >= {"kl_coef", "vf_coef", "max_grad_norm", "missing_eos_penalty", "total_episodes"}
