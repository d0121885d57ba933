"""Recipes: their commands read them, and they share all other settings."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml


RECIPES = Path(__file__).parents[3] / "examples" / "recipes"
ARMS = ("ppo", "ppocoder", "rltf", "stepcoder", "no_cccs", "no_fgo")
OWN = {"reward", "curriculum", "fgo", "error_token_penalty", "output_dir"}


def read(name):
    return yaml.safe_load((RECIPES / f"{name}.yaml").read_text())


@pytest.mark.parametrize("name", ARMS)
def test_ppo_recipes_are_read(name):
    from trl import ModelConfig, TrlParser

    from stepcoder_trl.trainer import StepCoderPPOConfig
    from stepcoder_trl.trainer.entry import PPOScriptArguments

    parser = TrlParser((PPOScriptArguments, StepCoderPPOConfig, ModelConfig))
    flags = ["--config", str(RECIPES / f"{name}.yaml"), "--bf16", "false", "--use_cpu", "true", "--report_to", "none"]
    script, args, _ = parser.parse_args_and_config(flags)

    given = read(name)
    assert script.reward == given.get("reward", "stepcoder")
    assert (args.curriculum, args.fgo) == (given["curriculum"], given["fgo"])
    assert args.error_token_penalty == given.get("error_token_penalty", 0.0)


GRPO = ("grpo", "grpo_stepcoder", "grpo_vllm")
VLLM = {name for name in read("grpo_vllm") if "vllm" in name} | {"max_prompt_length"}


@pytest.mark.filterwarnings("ignore:.*(gradient|activation)_checkpointing:FutureWarning")  # TRL's own settings
@pytest.mark.parametrize("name", GRPO)
def test_grpo_recipes_are_read(name):
    from trl import ModelConfig, TrlParser

    from stepcoder_trl import StepCoderGRPOConfig
    from stepcoder_trl.trainer.entry import PPOScriptArguments

    parser = TrlParser((PPOScriptArguments, StepCoderGRPOConfig, ModelConfig))
    flags = ["--config", str(RECIPES / f"{name}.yaml"), "--bf16", "false", "--use_cpu", "true", "--report_to", "none"]
    script, args, _ = parser.parse_args_and_config(flags)

    given = read(name)
    assert script.problems == [given["problems"]]
    assert (args.curriculum, args.fgo, args.num_generations) == (given["curriculum"], given["fgo"], 16)
    assert args.use_vllm == given.get("use_vllm", False)


@pytest.mark.filterwarnings("ignore:.*(gradient|activation)_checkpointing:FutureWarning")  # TRL's own settings
@pytest.mark.parametrize("name", ["small_gpu", "small_cpu"])
def test_small_recipes_train_adapters_on_whole_groups(name):
    from trl import ModelConfig, TrlParser

    from stepcoder_trl import StepCoderGRPOConfig
    from stepcoder_trl.trainer.entry import PPOScriptArguments

    parser = TrlParser((PPOScriptArguments, StepCoderGRPOConfig, ModelConfig))
    flags = ["--config", str(RECIPES / f"{name}.yaml"), "--bf16", "false", "--use_cpu", "true", "--report_to", "none"]
    _, args, model = parser.parse_args_and_config(flags)

    given = read(name)
    completions = args.per_device_train_batch_size * args.gradient_accumulation_steps
    assert completions % args.num_generations == 0
    assert (model.use_peft, model.lora_r) == (True, given["lora_r"])
    assert (args.curriculum, args.fgo) == ("paper", "lines")


def test_grpo_recipes_share_all_other_settings_with_those_of_ppo():
    own = {"max_completion_length", "learning_rate"}
    shared = [
        {key: value for key, value in read(name).items() if key not in OWN | own | VLLM} for name in (*GRPO, "ppo")
    ]

    assert all(one == shared[0] for one in shared)
    assert {name: read("grpo")[name] for name in own} == {name: read("grpo_stepcoder")[name] for name in own}


def test_recipes_share_all_other_settings():
    shared = [{key: value for key, value in read(name).items() if key not in OWN} for name in ARMS]

    assert all(one == shared[0] for one in shared)
    assert len({read(name)["output_dir"] for name in ARMS}) == len(ARMS)


def test_sft_recipe_has_settings_of_the_paper():
    from stepcoder_trl.trainer.sft import PAPER_SETTINGS

    assert {name: read("sft")[name] for name in PAPER_SETTINGS} == PAPER_SETTINGS
