"""`stepcoder-trl ppo`: train a model with StepCoder PPO, in one process or in several."""

from __future__ import annotations

import sys

from stepcoder_trl.cli.launch import LaunchArguments, train_or_launch


def main(arguments: list[str]) -> int:
    """Train in this process, or launch the requested processes. Return the exit status."""
    return train_or_launch("stepcoder_trl.cli.ppo", train, arguments)


def train(arguments: list[str]) -> int:
    """Parse `--config x.yaml` and flags, train in this process, and return the exit status."""
    from trl import ModelConfig, TrlParser

    from stepcoder_trl.trainer import StepCoderPPOConfig
    from stepcoder_trl.trainer.entry import PPOScriptArguments, run_ppo

    parser = TrlParser(
        (PPOScriptArguments, LaunchArguments, StepCoderPPOConfig, ModelConfig), prog="stepcoder-trl ppo"
    )
    script_args, _, training_args, model_args = parser.parse_args_and_config(arguments)
    run_ppo(script_args, training_args, model_args)
    return 0


if __name__ == "__main__":  # `accelerate launch` runs this in every process
    from stepcoder_trl.cli.main import report

    sys.exit(report(lambda: train(sys.argv[1:])))
