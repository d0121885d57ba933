"""`stepcoder-trl quickstart`: the whole story on a generated problem family, in minutes on a CPU.

Generates programming problems whose solutions have several branches, builds a tiny Llama with its tokenizer,
fine-tunes it on programs with planted errors, trains it with StepCoder PPO (curriculum and execution masks) and says
what pass@1 was before and after, on the problems it was trained on and on held-out ones. Nothing is downloaded.
"""

from __future__ import annotations

import argparse
import dataclasses


EPILOG = """The run directory gets summary.json, curves.jsonl (and curves.png with the extra `plots`), stages.jsonl,
rollouts.html (open it: masked tokens in colour), the problems, and the model before and after.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the verb."""
    parser.add_argument(
        "--out",
        default="stepcoder-quickstart",
        metavar="DIR",
        help="new run directory (default: stepcoder-quickstart)",
    )
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="seed of everything (default: 0)")
    parser.add_argument("--fast", action="store_true", help="a minute's smoke run: shows the way, learns nothing")
    parser.add_argument("--updates", type=int, metavar="N", help="PPO updates (default: of the setting)")
    parser.add_argument("--sft-steps", type=int, metavar="N", help="steps of fine-tuning (default: of the setting)")
    parser.add_argument("--threads", type=int, default=1, metavar="N", help="threads of PyTorch (default: 1)")


def run(arguments: argparse.Namespace) -> int:
    """Run the story; returns the exit status."""
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
