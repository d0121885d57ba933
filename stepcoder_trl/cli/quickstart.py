"""`stepcoder-trl quickstart`: train and evaluate a tiny model on generated problems, in minutes on a CPU.

Generates programming problems whose solutions have several branches, builds a tiny Llama with its tokenizer,
fine-tunes it on programs with planted errors, and trains it with StepCoder (curriculum and execution masks).
Reports pass@1 before and after, on the training problems and on held-out ones. Nothing is downloaded.
"""

from __future__ import annotations

import argparse
import dataclasses

from stepcoder_trl.errors import BadInputError


EPILOG = """The run directory gets summary.json, curves.jsonl, curves.png (with the extra `plots`), stages.jsonl, the
problems, the model before and after, and report.html: curves, and programs with masked tokens in colour.

example:
  stepcoder-trl quickstart --fast --out runs/quickstart
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the verb."""
    add = parser.add_argument
    add(
        "--out",
        default="stepcoder-quickstart",
        metavar="DIR",
        help="Write the run to DIR, or to DIR-2 and so on if there is one (default: stepcoder-quickstart).",
    )
    add("--seed", type=int, default=0, metavar="N", help="Set the random seed (default: 0).")
    add("--fast", action="store_true", help="Run every step within a minute. The model does not learn anything.")
    add("--trainer", choices=("ppo", "grpo"), default="ppo", help="Train with PPO or on TRL's GRPO (default: ppo).")
    add("--updates", type=int, metavar="N", help="Set the number of updates.")
    add("--sft-steps", type=int, metavar="N", help="Set the number of fine-tuning steps.")
    add("--threads", type=int, default=1, metavar="N", help="Use N threads in PyTorch (default: 1).")


def run(arguments: argparse.Namespace) -> int:
    """Run the quickstart and return the exit status."""
    import os

    os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")
    if arguments.threads < 1:
        raise BadInputError(f"`--threads` is {arguments.threads}, but must be at least 1.")
    from stepcoder_trl.quickstart.run import run_quickstart
    from stepcoder_trl.quickstart.settings import FAST, FULL, QuickstartConfig

    changes = {"updates": arguments.updates, "sft_steps": arguments.sft_steps}
    given = {name: value for name, value in changes.items() if value is not None}
    sizes = dataclasses.replace(FAST if arguments.fast else FULL, **given)
    run_quickstart(
        QuickstartConfig(
            out=arguments.out,
            seed=arguments.seed,
            trainer=arguments.trainer,
            sizes=sizes,
            num_threads=arguments.threads,
        )
    )
    return 0
