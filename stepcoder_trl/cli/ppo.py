"""`stepcoder-trl ppo`: train a model with StepCoder PPO."""

from __future__ import annotations


def main(arguments: list[str]) -> int:
    """Parse `--config x.yaml` and flags, and train; returns the exit status."""
    from trl import ModelConfig, TrlParser

    from stepcoder_trl.trainer import StepCoderPPOConfig
    from stepcoder_trl.trainer.launch import PPOScriptArguments, run_ppo

    parser = TrlParser((PPOScriptArguments, StepCoderPPOConfig, ModelConfig), prog="stepcoder-trl ppo")
    script_args, training_args, model_args = parser.parse_args_and_config(arguments)
    run_ppo(script_args, training_args, model_args)
    return 0
