"""`stepcoder-trl ppo`: train a model with StepCoder PPO, in one process or in several."""

from __future__ import annotations

import sys

from stepcoder_trl.cli.training import parse_training, train_or_launch


def main(arguments: list[str]) -> int:
    """Train in this process, or launch the requested processes. Return the exit status."""
    return train_or_launch("ppo", train, arguments)


def train(arguments: list[str]) -> int:
    """Parse `--config x.yaml` and flags, train in this process, and return the exit status."""
    from stepcoder_trl.trainer.entry import run_ppo

    run_ppo(*parse_training("ppo", arguments))
    return 0


if __name__ == "__main__":  # `accelerate launch` runs this in every process
    from stepcoder_trl.cli.main import report

    sys.exit(report(lambda: train(sys.argv[1:])))
