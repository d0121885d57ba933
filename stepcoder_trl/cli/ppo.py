"""`stepcoder-trl ppo`: train a model with StepCoder PPO, in one process or in several."""

from __future__ import annotations

import sys

from stepcoder_trl.cli.launch import LaunchArguments, launch_module


def main(arguments: list[str]) -> int:
    """Parse `--config x.yaml` and flags, and train, here or in the processes asked for; returns the exit status."""
    from trl import TrlParser

    if "--help" in arguments or "-h" in arguments:
        return train(arguments)
    launch, _ = TrlParser((LaunchArguments,), allow_abbrev=False).parse_args_and_config(
        arguments, return_remaining_strings=True
    )
    if launch.accelerate_config is not None:
        return launch_module("stepcoder_trl.cli.ppo", arguments, launch)
    for name in ("num_processes", "num_machines"):
        if (getattr(launch, name) or 1) > 1:
            raise _without_config(name)
    return train(arguments)


def train(arguments: list[str]) -> int:
    """Train in this process, one of those that were launched or the only one; returns the exit status."""
    from trl import ModelConfig, TrlParser

    from stepcoder_trl.trainer import StepCoderPPOConfig
    from stepcoder_trl.trainer.launch import PPOScriptArguments, run_ppo

    parser = TrlParser(
        (PPOScriptArguments, LaunchArguments, StepCoderPPOConfig, ModelConfig), prog="stepcoder-trl ppo"
    )
    script_args, _, training_args, model_args = parser.parse_args_and_config(arguments)
    run_ppo(script_args, training_args, model_args)
    return 0


def _without_config(name: str) -> Exception:
    from stepcoder_trl.errors import BadInputError

    return BadInputError(
        f"`{name}` is given without `accelerate_config`. Say how the processes share the work: `--accelerate_config "
        "ddp`, `zero2` or `zero3`."
    )


if __name__ == "__main__":  # started in every process by `accelerate launch`
    from stepcoder_trl.cli.main import report

    sys.exit(report(lambda: train(sys.argv[1:])))
