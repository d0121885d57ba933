"""
Exceptions that this package raises.

A failure of a *program* is an [`Outcome`], never an exception.

    StepCoderError
    ├── BadInputError (also a ValueError)   a row, a flag or a file is invalid; the message names the place and the fix
    │   ├── NoTestsError                    a problem has no tests
    │   └── ParentImportError (also an ImportError)   TRL's trainer cannot be imported
    └── SandboxError (also a RuntimeError)  the sandbox failed to run a program; never counted as a score
        └── IsolationError                  `isolation="strict"`, but an isolation layer is missing
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any


_LONG = 60  # characters of a value that is not shown


class StepCoderError(Exception):
    """Base class of all exceptions of this package."""


class BadInputError(StepCoderError, ValueError):
    """Raised for invalid input. The message names the file, the row, the field and the fix."""


class NoTestsError(BadInputError):
    """Raised for a problem without tests."""


class ParentImportError(BadInputError, ImportError):
    """Raised if TRL's trainer cannot be imported. The message names the reason and the fix."""


class SandboxError(StepCoderError, RuntimeError):
    """Raised when the sandbox fails to run a program: an infrastructure failure, not an outcome."""


class IsolationError(SandboxError):
    """Raised with `isolation="strict"` if an isolation layer is missing. The message names the layers and the fix."""


def refuse_keywords(given: Mapping[str, Any], owner: str, config: type, example: str) -> None:
    """
    Raise a `BadInputError` for keyword arguments that a class does not take.

    Args:
        given (`dict[str, Any]`): The keyword arguments. Empty if all is well.
        owner (`str`): Name of the class.
        config (`type`): Dataclass of its configuration, to which the argument may belong.
        example (`str`): Call of the class, with `{}` in place of an argument of the configuration.
    """
    import difflib  # for a mistake alone

    for name, value in given.items():
        close = difflib.get_close_matches(name, [one.name for one in dataclasses.fields(config)], n=1, cutoff=0.75)
        shown = repr(value) if len(repr(value)) < _LONG else "..."
        fix = f"Write `{example.format(f'{close[0]}={shown}')}`." if close else f"See the docstring of `{owner}`."
        raise BadInputError(f"`{name}` is no argument of `{owner}`. {fix}")
