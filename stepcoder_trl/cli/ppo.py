"""`stepcoder-trl ppo`: train a model with StepCoder PPO, in one process or in several."""

from __future__ import annotations

import sys

from stepcoder_trl.cli.launch import LaunchArguments, here_or_launched


def main(arguments: list[str]) -> int:
    """Parse `--config x.yaml` and flags, and train, here or in the processes asked for; returns the exit status."""
    return here_or_launched("stepcoder_trl.cli.ppo", train, arguments)


def train(arguments: list[str]) -> int:
    """Train in this process, one of those that were launched or the only one; returns the exit status."""
    from trl import ModelConfig, TrlParser

    from stepcoder_trl.trainer import StepCoderPPOConfig
    from stepcoder_trl.trainer.entry import PPOScriptArguments, run_ppo

    parser = TrlParser(
        (PPOScriptArguments, LaunchArguments, StepCoderPPOConfig, ModelConfig), prog="stepcoder-trl ppo"
    )
    script_args, _, training_args, model_args = parser.parse_args_and_config(arguments)
    run_ppo(script_args, training_args, model_args)
    return 0


if __name__ == "__main__":  # started in every process by `accelerate launch`
    from stepcoder_trl.cli.main import report

    sys.exit(report(lambda: train(sys.argv[1:])))
