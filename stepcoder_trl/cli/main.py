"""Entry point of `stepcoder-trl`."""

from __future__ import annotations

import argparse
import importlib
import io
import os
import sys
import time
import warnings
from collections.abc import Callable
from typing import Any, NoReturn

from stepcoder_trl import __version__
from stepcoder_trl.cli.flags import Settings, did_you_mean, parse_known, with_flag
from stepcoder_trl.errors import BadInputError, SandboxError
from stepcoder_trl.jsonl import DISK_ERRORS


# verb: (module of this package, one-line help)
VERBS = {
    "check": ("check", "check problems, their solutions and a configuration before training"),
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
    "serve": ("serve", "serve the sandbox over HTTP, for trainers on other machines"),
    "selftest": ("selftest", "test the sandbox on this machine with hostile and correct programs"),
    "report": ("report", "write one HTML page about a run: curves, stages, outcomes, rollouts"),
    "plot": ("plot", "plot the learning curves of one or several runs"),
    "env": ("environment", "print versions, hardware and sandbox layers, for bug reports"),
}
TRAINING_VERBS = ("grpo", "ppo", "sft")
RESUMABLE_VERBS = ("evaluate", "refine")


_SECONDS_TO_SPEAK = 10


class _Parser(argparse.ArgumentParser):
    """Argument parser that prints errors in one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"stepcoder-trl: {message}. See `{self.prog} --help`.\n")


def main(argv: list[str] | None = None) -> NoReturn:
    """Run one verb and exit with 0 (done), 1 (some rows could not be run), 2 (bad input) or 130 (interrupted)."""
    arguments = sys.argv[1:] if argv is None else argv
    warnings.formatwarning = _as_line
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # tables in a locale that lacks their characters
    sys.exit(report(lambda: _run(arguments)))


def _as_line(
    message: Warning | str, category: type[Warning], filename: str, lineno: int, line: str | None = None
) -> str:
    """Return a warning in one line, without the place in the source, which tells a user nothing."""
    return f"stepcoder-trl: {message}\n"


def report(run: Callable[[], int]) -> int:
    """Run a verb and return its exit status. Print expected errors as one line on standard error."""
    try:
        status = run()
        sys.stdout.flush()
    except (BadInputError, SandboxError) as error:
        _let_first_process_speak()
        print(f"stepcoder-trl: {error}", file=sys.stderr)
        status = 2 if isinstance(error, BadInputError) else 1
    except BrokenPipeError:  # e.g. `| head`
        sys.stderr.close()
        status = 1
    except OSError as error:
        if error.errno not in DISK_ERRORS:
            raise
        name = error.filename or "the output"
        print(f"stepcoder-trl: {name} cannot be written: {error.strerror}. Free some space.", file=sys.stderr)
        status = 2
    except KeyboardInterrupt:
        status = 130
    return status


def _let_first_process_speak() -> None:
    """Wait if a launcher started this process beside a first one: after the same error there, it ends this one."""
    if os.environ.get("LOCAL_RANK", "0") != "0":
        time.sleep(_SECONDS_TO_SPEAK)


def _run(arguments: list[str]) -> int:
    if not arguments or arguments[0].startswith("-"):
        _overview().parse_args(arguments)
        raise BadInputError("No verb is given. `stepcoder-trl --help` lists all verbs.")
    verb, *words = arguments
    if verb not in VERBS:
        fix = did_you_mean(verb, VERBS, "`stepcoder-trl --help` lists all verbs.")
        raise BadInputError(f"There is no verb {verb!r}. {fix}")
    module = _module(VERBS[verb][0])
    if verb in TRAINING_VERBS:  # their flags come from dataclasses
        return int(module.main(words))
    parser = _Parser(
        prog=f"stepcoder-trl {verb}",
        description=module.__doc__,
        epilog=module.EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    module.add_arguments(parser)
    parser.add_argument("--help-all", action="help", help=argparse.SUPPRESS)  # these verbs inherit no options
    parsed, unknown = parse_known(Settings(tuple(words)), parser, [])
    if unknown:
        known = [name for action in parser._actions for name in action.option_strings if name != "--help-all"]
        fix = did_you_mean(unknown[0].partition("=")[0], known, f"See `stepcoder-trl {verb} --help`.")
        raise BadInputError(f"There is no option {unknown[0]!r}. {fix}")
    try:
        return int(module.run(parsed))
    except KeyboardInterrupt:
        advice = " Run the same command again to go on." if verb in RESUMABLE_VERBS else ""
        print(f"stepcoder-trl: `{verb}` was interrupted.{advice}", file=sys.stderr)
        raise
    except BadInputError as error:
        raise BadInputError(with_flag(str(error), parser, words)) from error


def _overview() -> argparse.ArgumentParser:
    """Return the parser of the command without a verb, whose help lists the verbs."""
    width = max(map(len, VERBS)) + 2
    verbs = "\n".join(f"  {verb:{width}}{summary}" for verb, (_, summary) in VERBS.items())
    parser = _Parser(
        prog="stepcoder-trl",
        usage="stepcoder-trl VERB [options]",
        description="StepCoder for TRL: train code models from their unit tests.",
        epilog=f"verbs (`stepcoder-trl VERB --help` has an example of each):\n{verbs}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"stepcoder-trl {__version__}")
    return parser


def _module(name: str) -> Any:
    """Import the module of a verb. Only the chosen verb is imported, so that `execute` does not import torch."""
    return importlib.import_module(f"stepcoder_trl.cli.{name}")
