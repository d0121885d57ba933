"""`stepcoder-trl report`: write one HTML page about a run."""

from __future__ import annotations

import argparse
from pathlib import Path

from stepcoder_trl.cli.outputs import check_outputs, files_of
from stepcoder_trl.errors import BadInputError
from stepcoder_trl.reports.run_files import PAGE, read_run, run_directory, write_page


EPILOG = """RUN is the output_dir of `stepcoder-trl ppo`, `grpo` or `sft`, or a run directory of `quickstart`. The run
may still be going on, or have been stopped. Training writes the same page at its end.

The page holds a summary, learning curves, curriculum stages, outcomes of programs, groups, and recorded rollouts: each
with the lines that ran, the tokens that were trained on, the failing test and the reference solution. It is one file
that asks nothing of the network. It shows prompts, programs and solutions of the training data: mind who gets it.

example:
  stepcoder-trl report runs/stepcoder
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the verb."""
    parser.add_argument("run", metavar="RUN", help="Run directory.")
    parser.add_argument("--out", metavar="FILE", help=f"Write the page to FILE (default: {PAGE} in RUN).")


def run(arguments: argparse.Namespace) -> int:
    """Write the page and return the exit status."""
    folder = Path(arguments.run)
    if not folder.is_dir():
        raise BadInputError(f"{folder}: is not a folder. Pass a run directory.")
    source = run_directory(folder)
    check_outputs({"--out": arguments.out}, [*files_of(source), *source.glob("*.jsonl"), source / "record"])
    facts = read_run(source)
    path = write_page(facts, source, arguments.out or folder / PAGE)
    print(f"Wrote the page of {facts.update} of {facts.num_updates} updates to {path}.")
    return 0
