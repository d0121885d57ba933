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
    "execute": ("execute", "run programs under their tests"),
    "curriculum": ("curriculum", "show where the curriculum may cut solutions"),
    "mask": ("mask", "show which tokens Fine-Grained Optimization keeps"),
    "refine": ("refine", "make APPS+ out of APPS, by running everything"),
    "evaluate": ("evaluate", "pass@k of a model, or of samples that are there already"),
    "overlap": ("overlap", "lines that a benchmark shares with training solutions"),
    "sft": ("sft", "fine-tune a model on canonical solutions"),
    "ppo": ("ppo", "train a model with StepCoder PPO"),
    "quickstart": ("quickstart", "train a tiny model on generated problems, in minutes on a CPU"),
    "selftest": ("selftest", "run hostile and correct programs through the sandbox: does it hold here?"),
    "plot": ("plot", "learning curves of one run, or of several side by side"),
    "env": ("environment", "print versions and sandbox layers, for bug reports"),
}


class _Parser(argparse.ArgumentParser):
    """Parser whose errors are one line, like all others."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"stepcoder-trl: {message}. See `{self.prog} --help`.\n")


def main(argv: list[str] | None = None) -> NoReturn:
    """Run one verb and exit: 0 done, 1 some rows could not be executed, 2 bad input, 130 interrupted."""
    arguments = sys.argv[1:] if argv is None else argv
    sys.exit(report(lambda: _run(arguments)))


def report(run: Callable[[], int]) -> int:
    """Run a verb; what a user can mend becomes one line on standard error. Returns the exit status."""
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
    if arguments and arguments[0] in ("ppo", "sft"):  # their flags are the trainers': TRL's own parser reads them
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
    """Verbs are imported when chosen: `execute` must not wait for torch."""
    return importlib.import_module(f"stepcoder_trl.cli.{name}")
