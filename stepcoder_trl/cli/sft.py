"""`stepcoder-trl sft`: fine-tune a model on canonical solutions, in one process or in several."""

from __future__ import annotations

import sys

from stepcoder_trl.cli.training import parse_training, train_or_launch


def main(arguments: list[str]) -> int:
    """Train in this process, or launch the requested processes. Return the exit status."""
    return train_or_launch("sft", train, arguments)


def train(arguments: list[str]) -> int:
    """Parse `--config x.yaml` and flags, train in this process, and return the exit status."""
    from accelerate import PartialState

    from stepcoder_trl.trainer.entry import run_sft

    left_out = run_sft(*parse_training("sft", arguments))
    if PartialState().is_main_process:
        for reason in left_out:
            print(f"stepcoder-trl: left out: {reason}", file=sys.stderr)
    return 0


if __name__ == "__main__":  # `accelerate launch` runs this in every process
    from stepcoder_trl.cli.main import report

    sys.exit(report(lambda: train(sys.argv[1:])))
