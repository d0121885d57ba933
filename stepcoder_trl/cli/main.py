"""Entry point of `stepcoder-trl`."""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Callable
from typing import Any, NoReturn

from stepcoder_trl import __version__
from stepcoder_trl.errors import BadInputError, SandboxError


# verb: (module of this package, one-line help)
VERBS = {
    "execute": ("execute", "run programs against their tests"),
    "curriculum": ("curriculum", "list the curriculum stages of solutions"),
    "mask": ("mask", "show which tokens Fine-Grained Optimization keeps"),
    "refine": ("refine", "clean a dataset such as APPS by running its solutions, as the paper does for APPS+"),
    "evaluate": ("evaluate", "measure pass@k of a model or of existing samples"),
    "overlap": ("overlap", "count the lines that benchmark solutions share with training solutions"),
    "sft": ("sft", "fine-tune a model on canonical solutions"),
    "ppo": ("ppo", "train a model with StepCoder PPO"),
    "grpo": ("grpo", "train a model with StepCoder on GRPO"),
    "quickstart": ("quickstart", "train and evaluate a tiny model on generated problems, in minutes on a CPU"),
    "selftest": ("selftest", "test the sandbox on this machine with hostile and correct programs"),
    "plot": ("plot", "plot the learning curves of one or several runs"),
    "env": ("environment", "print package versions and sandbox layers, for bug reports"),
}


class _Parser(argparse.ArgumentParser):
    """Argument parser that prints errors in one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"stepcoder-trl: {message}. See `{self.prog} --help`.\n")


def main(argv: list[str] | None = None) -> NoReturn:
    """Run one verb and exit with 0 (done), 1 (some rows could not be run), 2 (bad input) or 130 (interrupted)."""
    arguments = sys.argv[1:] if argv is None else argv
    sys.exit(report(lambda: _run(arguments)))


def report(run: Callable[[], int]) -> int:
    """Run a verb and return its exit status. Print expected errors as one line on standard error."""
    try:
        status = run()
    except (BadInputError, SandboxError) as error:
        print(f"stepcoder-trl: {error}", file=sys.stderr)
        status = 2 if isinstance(error, BadInputError) else 1
    except BrokenPipeError:  # e.g. `| head`
        sys.stderr.close()
        status = 1
    except KeyboardInterrupt:
        status = 130
    return status


def _run(arguments: list[str]) -> int:
    parser = _Parser(prog="stepcoder-trl", description="StepCoder for TRL: train code models from their unit tests.")
    parser.add_argument("--version", action="version", version=f"stepcoder-trl {__version__}")
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True, parser_class=_Parser)
    if arguments and arguments[0] in ("grpo", "ppo", "sft"):  # TRL's parser reads their flags
        return int(_module(arguments[0]).main(arguments[1:]))
    for verb, (_, summary) in VERBS.items():
        chosen = bool(arguments) and arguments[0] == verb
        module: Any = _module(VERBS[verb][0]) if chosen else None
        subparser = verbs.add_parser(
            verb,
            help=summary,
            description=(module.__doc__ if module else summary),
            epilog=getattr(module, "EPILOG", None),
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        if module:
            module.add_arguments(subparser)
    parsed = parser.parse_args(arguments)
    return int(_module(VERBS[parsed.verb][0]).run(parsed))


def _module(name: str) -> Any:
    """Import the module of a verb. Only the chosen verb is imported, so that `execute` does not import torch."""
    return importlib.import_module(f"stepcoder_trl.cli.{name}")
