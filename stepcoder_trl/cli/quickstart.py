"""`stepcoder-trl quickstart`: train a tiny model with StepCoder PPO on generated problems, in minutes on a CPU.

Generates programming problems whose solutions have several branches. Builds a tiny Llama with its tokenizer.
Fine-tunes it on programs with planted errors. Trains it with StepCoder PPO: curriculum and execution masks. Prints
pass@1 before and after, on the training problems and on held-out ones. Nothing is downloaded.
"""

from __future__ import annotations

import argparse
import dataclasses


EPILOG = """The run directory gets summary.json, curves.jsonl (and curves.png with the extra `plots`), stages.jsonl,
rollouts.html (masked tokens in colour), the problems, and the model before and after training.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the verb."""
    parser.add_argument(
        "--out",
        default="stepcoder-quickstart",
        metavar="DIR",
        help="new run directory (default: stepcoder-quickstart)",
    )
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="random seed (default: 0)")
    parser.add_argument("--fast", action="store_true", help="smoke run of a minute, too short to learn anything")
    parser.add_argument("--updates", type=int, metavar="N", help="PPO updates (default: by --fast or not)")
    parser.add_argument("--sft-steps", type=int, metavar="N", help="fine-tuning steps (default: by --fast or not)")
    parser.add_argument("--threads", type=int, default=1, metavar="N", help="threads of PyTorch (default: 1)")


def run(arguments: argparse.Namespace) -> int:
    """Run the quickstart; returns the exit status."""
    import os

    os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")
    from stepcoder_trl.quickstart.run import run_quickstart
    from stepcoder_trl.quickstart.settings import FAST, FULL, QuickstartConfig

    changes = {"updates": arguments.updates, "sft_steps": arguments.sft_steps}
    given = {name: value for name, value in changes.items() if value is not None}
    sizes = dataclasses.replace(FAST if arguments.fast else FULL, **given)
    run_quickstart(
        QuickstartConfig(out=arguments.out, seed=arguments.seed, sizes=sizes, num_threads=arguments.threads)
    )
    return 0
