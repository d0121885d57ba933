"""Flags and YAML files of the verbs that train. A mistake in either becomes one line with its place and its fix."""

from __future__ import annotations

import argparse
import difflib
import json
import os
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

from stepcoder_trl.errors import BadInputError
from stepcoder_trl.jsonl import shown


CONFIG = "--config"

_OPTION = re.compile(r"argument (--[\w-]+)(?:/--[\w-]+)*: ")
_INVALID = re.compile(r"invalid (?P<kind>\S+?)(?: value)?: '(?P<value>.*?)'")
_NO_BOOL = re.compile(r"Truthy value expected: got (.*?) but expected ")  # of transformers
_KINDS = {"int": "a whole number", "float": "a number", "mebibytes": "a number", "bool": "true or false"}
_OFF_WORDS = ("no", "off", "none")  # choices that YAML 1.1 reads as False, or that stand for null
# Options that one verb calls otherwise than another.
_SYNONYMS = {
    "max_completion_length": "response_length",
    "response_length": "max_completion_length",
    "model": "model_name_or_path",
    "--model_name_or_path": "--model",
    "--model-name-or-path": "--model",
}
# Values of options and words that are missing, for messages. Those of `--out` are by metavar.
_EXAMPLES = {
    "DIR": "refined",
    "MASKS": "masks.jsonl",
    "STAGES": "stages.jsonl",
    "--problems": "mine.jsonl",
    "--train": "train.jsonl",
    **dict.fromkeys(("PROGRAMS", "SOLUTIONS", "APPS", "BENCHMARK"), "mine.jsonl"),
    "ROLLOUTS": "rollouts.jsonl",
    "RUN": "runs/ppo",
}
_NULL_WORDS = {"report_to": "none"}
_FIELD = re.compile(r"`(\w+)` ")  # at the beginning of a message


@dataclass(frozen=True)
class Settings:
    """Command line of a verb: the settings of its YAML file, and the words beside `--config`."""

    words: tuple[str, ...]
    values: Mapping[str, Any] = field(default_factory=dict)
    path: str = ""  # of the YAML file


def read_settings(arguments: Sequence[str]) -> Settings:
    """
    Split a command line into the settings of its YAML file and the other words.

    As in TRL, the mapping `env` of the file sets environment variables.

    Raises:
        BadInputError: If the file cannot be read, or holds no mapping.
    """
    words = list(arguments)
    place = next((n for n, word in enumerate(words) if word == CONFIG or word.startswith(f"{CONFIG}=")), None)
    if place is None:
        return Settings(tuple(words))
    option, _, path = words.pop(place).partition("=")
    if not path:
        if place == len(words):
            raise BadInputError(f"`{option}` needs the path of a YAML file. Write `{option} run.yaml`.")
        path = words.pop(place)
    if any(word == CONFIG or word.startswith(f"{CONFIG}=") for word in words):
        raise BadInputError(f"`{CONFIG}` is given twice. Write all settings into one file.")
    values = read_yaml(path)
    if "config" in values:
        raise BadInputError(f"{path}: `config` names another file. Write its settings into this one.")
    variables = values.pop("env", None) or {}
    if not isinstance(variables, dict):
        raise BadInputError(f"{path}: `env` is {shown(variables)}, but must be a mapping of environment variables.")
    os.environ.update({str(name): str(value) for name, value in variables.items()})
    return Settings(tuple(words), values, path)


def read_yaml(path: str) -> dict[str, Any]:
    """Return the settings of a YAML file. An empty file has none. Raises a `BadInputError` that names the line."""
    import yaml

    try:
        text = Path(path).read_text(encoding="utf-8")
        _check_keys(path, yaml.compose(text, yaml.SafeLoader))
        values = yaml.safe_load(text)
    except FileNotFoundError:
        raise BadInputError(f"{path}: there is no such file. Check the path.") from None
    except OSError as error:
        raise BadInputError(f"{path}: the file cannot be read: {error.strerror}. Check the path.") from None
    except UnicodeDecodeError as error:
        raise BadInputError(f"{path}: byte {error.start + 1} is not UTF-8. Save the file as UTF-8.") from None
    except yaml.MarkedYAMLError as error:
        line = "" if error.problem_mark is None else f":{error.problem_mark.line + 1}"
        raise BadInputError(f"{path}{line}: invalid YAML: {error.problem}. Write `name: value`, one a line.") from None
    except yaml.YAMLError as error:
        raise BadInputError(f"{path}: invalid YAML: {' '.join(str(error).split())}. Write `name: value`.") from None
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise BadInputError(f"{path}: the file holds {shown(values)}, but must be settings such as `max_steps: 100`.")
    return {str(name): value for name, value in values.items()}


def _check_keys(path: str, node: Any) -> None:
    """Raise a `BadInputError` that names the second line of a key that a mapping of YAML has twice."""
    seen: dict[str, int] = {}
    for key, _ in [] if node is None or node.id != "mapping" else node.value:
        line = key.start_mark.line + 1
        if str(key.value) in seen:
            first = seen[str(key.value)]
            raise BadInputError(f"{path}:{line}: `{key.value}` is set in line {first} already. Keep one of the two.")
        seen[str(key.value)] = line


def did_you_mean(name: str, known: Iterable[str], fix: str) -> str:
    """Return the end of a message about an unknown name: its synonym, the known name that is closest, or `fix`."""
    known = list(known)
    synonyms = [one for one in [_SYNONYMS.get(name)] if one in known]
    close = synonyms or difflib.get_close_matches(name, known, n=1)
    return f"Did you mean `{close[0]}`?" if close else fix


def parse_flags(
    settings: Settings, parser: argparse.ArgumentParser, verb: str, nullable: Collection[str]
) -> argparse.Namespace:
    """
    Parse settings and flags. Flags beat settings.

    Args:
        settings ([`Settings`]): Command line.
        parser (`argparse.ArgumentParser`): Parser with one action for each option. Its values are changed.
        verb (`str`): Verb, for messages.
        nullable (`Collection[str]`): Options that may be `None`, which YAML writes as `null`.

    Raises:
        BadInputError: If a name is unknown or a value invalid. The message says which one is closest.
    """
    actions = {action.dest: action for action in parser._actions if action.option_strings}
    names = [name for name in actions if name != "help"]
    words: list[str] = []
    for name, value in settings.values.items():
        if name not in names:
            fix = did_you_mean(name, names, f"`stepcoder-trl {verb} --help-all` lists all options.")
            raise BadInputError(f"{settings.path}: there is no option `{name}`. {fix}")
        words += _as_words(settings.path, actions[name], value, name in nullable)
    found, unknown = parse_known(settings, parser, words)
    for word in unknown:
        if not word.startswith("-"):
            raise BadInputError(f"{word!r} belongs to no option. Write `--name value`.")
        options = [option.lstrip("-") for action in actions.values() for option in action.option_strings]
        fix = did_you_mean(_name(word), options, f"`stepcoder-trl {verb} --help-all` lists all options.")
        raise BadInputError(f"There is no option `{word.partition('=')[0]}`. {fix}")
    return found


class _FlagError(Exception):
    """Raised for an invalid flag, with argparse's message."""


def _refuse(message: str) -> NoReturn:
    raise _FlagError(message)


def parse_known(
    settings: Settings, parser: argparse.ArgumentParser, words: Sequence[str]
) -> tuple[argparse.Namespace, list[str]]:
    """Parse words that come from the YAML file, then those of the command line. Return the unknown ones, too."""
    parser.error = _refuse  # type: ignore[method-assign]  # argparse's prints the usage of every option
    try:
        return parser.parse_known_args([*words, *settings.words])
    except _FlagError as error:
        actions = {action.dest: action for action in parser._actions}
        raise BadInputError(_place(settings, str(error), actions)) from None


def _name(word: str) -> str:
    """Return the name of the option in a word such as `--max-steps=3`."""
    return word.partition("=")[0].lstrip("-").replace("-", "_")


def _as_words(path: str, action: argparse.Action, value: Any, is_nullable: bool) -> list[str]:
    """Return the words that give an option the value of a YAML file. A value that no word can be is its default."""
    name, choices = action.dest, list(action.choices or ())
    if value is False and action.nargs != "?":
        off = next((word for word in _OFF_WORDS if word in choices), None)
        value = _NULL_WORDS.get(name, False) if off is None else off
    if value is None and name in _NULL_WORDS:
        value = _NULL_WORDS[name]
    if value is None:
        if not is_nullable:
            raise BadInputError(f"{path}: `{name}` has no value. Give it one, or leave it out for the default.")
        action.default, action.required = None, False
        return []
    if isinstance(value, list) and action.nargs in ("+", "*"):
        return [f"--{name}", *map(str, value)]
    if isinstance(value, (dict, list)):
        if action.type is not str:
            raise BadInputError(f"{path}: `{name}` is {shown(value)}, but must be a single value.")
        action.default, action.required = value, False
        return []
    text = json.dumps(value) if isinstance(value, bool) else str(value)
    return [f"--{name}={text}"]


def mebibytes(text: str) -> int:
    """Return the bytes of a number of MiB, for argparse."""
    number = float(text)
    if not 1 <= number <= 2**40:
        raise argparse.ArgumentTypeError(f"is {text}, but must be at least 1. It counts MiB: write 512.")
    return int(number * 2**20)


def with_flag(message: str, parser: argparse.ArgumentParser, words: Sequence[str]) -> str:
    """Return a message that begins with the name of a field, with the flag in its place that set it in `words`."""
    found = _FIELD.match(message)
    given = {word.partition("=")[0] for word in words}
    flags = {action.dest: name for action in parser._actions for name in action.option_strings if name in given}
    if found is None or found[1] not in flags:
        return message
    return f"`{flags[found[1]]}` {message[found.end() :]}"


def _missing(names: Sequence[str], actions: Mapping[str, argparse.Action]) -> str:
    """Return the message about required options that are missing, with an example. Empty without names."""
    if not names:
        return ""
    metavars = {name: str(actions["out"].metavar) if name == "--out" else name for name in names}
    values = {name: _EXAMPLES.get(metavar, metavar.lstrip("-").upper()) for name, metavar in metavars.items()}
    example = " ".join(f"{name} {value}" if name.startswith("-") else value for name, value in values.items())
    return f"{' and '.join(f'`{name}`' for name in names)} missing. Write for example `{example}`."


def _place(settings: Settings, message: str, actions: Mapping[str, argparse.Action]) -> str:
    """Return argparse's message with the option, its source and the choice that is closest."""
    found = _OPTION.match(message)
    if found is None:
        missing = message.partition("the following arguments are required: ")[2].split(", ")
        return _missing([name.partition("/")[0] for name in missing if name], actions) or f"{message}."
    option, reason = found[1], _NO_BOOL.sub(r"invalid bool: '\1'", message[found.end() :])
    name = _name(option)
    flags = {_name(word) for word in settings.words if word.startswith("-")}
    is_setting = name in settings.values and name not in flags
    label = f"{settings.path}: `{name}`" if is_setting else f"`{option}`"
    wrong = _INVALID.match(reason)
    if wrong is None:
        own = reason.startswith("is ")  # from a function of ours
        return f"{label} {reason}" if own else f"{label}: {reason.rstrip('.')}. Correct the value."
    choices = [str(choice) for choice in actions[name].choices or ()] if name in actions else []
    if not choices:
        return f"{label} is {wrong['value']!r}, but must be {_KINDS.get(wrong['kind'], wrong['kind'])}. Correct it."
    fix = did_you_mean(wrong["value"], choices, "Check the spelling.")
    return f"{label} is {wrong['value']!r}, but must be one of {', '.join(choices)}. {fix}"
