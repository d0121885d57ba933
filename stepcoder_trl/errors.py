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
