"""Flags of the verbs that run programs: which executor runs them."""

from __future__ import annotations

import argparse

from stepcoder_trl.executor import ExecutorConfig
from stepcoder_trl.executor.choice import PLACES, ExecutorChoice


def add_executor_arguments(parser: argparse._ActionsContainer) -> None:
    """Add the flags that choose an executor."""
    parser.add_argument(
        "--executor",
        choices=PLACES,
        metavar="NAME",
        help="Run programs local (default), remote or on ray.",
    )
    parser.add_argument(
        "--executor-urls", nargs="+", default=(), metavar="URL", help="Name the hosts of --executor remote."
    )
    parser.add_argument(
        "--backend-url", dest="executor_urls", nargs="+", default=(), metavar="URL", help=argparse.SUPPRESS
    )


def executor_choice(arguments: argparse.Namespace, config: ExecutorConfig) -> ExecutorChoice:
    """
    Return the executor that the flags choose, whose hosts answer.

    Raises:
        BadInputError: If the flags contradict each other.
        SandboxError: If no host answers.
    """
    choice = ExecutorChoice(config, arguments.executor, tuple(arguments.executor_urls))
    choice.probe()
    return choice
