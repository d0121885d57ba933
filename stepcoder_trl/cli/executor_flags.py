"""Flags of the verbs that run programs: which executor runs them."""

from __future__ import annotations

import argparse
from collections.abc import Callable

from stepcoder_trl.cli.flags import mebibytes
from stepcoder_trl.executor import ExecutorConfig
from stepcoder_trl.executor.choice import PLACES, ExecutorChoice


def add_workers(add: Callable[..., object], noun: str = "programs", default: int | None = None) -> None:
    """Add the flag that says how many programs run at a time."""
    text = f"Run N {noun} in parallel (default: {default or 'one per core'})."
    add("--workers", dest="num_workers", type=int, default=default, metavar="N", help=text)


def add_memory(add: Callable[..., object], text: str) -> None:
    """Add the flag that limits the memory of a program."""
    add(
        "--memory-mb",
        dest="memory_limit_bytes",
        type=mebibytes,
        default=ExecutorConfig().memory_limit_bytes,
        metavar="M",
        help=text,
    )


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
