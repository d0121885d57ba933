"""
Exceptions that a caller can meet.

What a *program* does wrong is an [`Outcome`], never an exception. The tree:

    StepCoderError
    ├── BadInputError (also a ValueError)   a row, a flag or a file is not what it must be; says where and the fix
    │   └── NoTestsError                    a problem has no test at all
    └── SandboxError (also a RuntimeError)  an execution could not be carried out; never a score
        └── IsolationError                  `isolation="strict"`, and a layer of the sandbox is missing here
"""


class StepCoderError(Exception):
    """Base of every exception that this package raises on purpose."""


class BadInputError(StepCoderError, ValueError):
    """Raised for input that cannot be used: the message names the file, the row, the field and the fix."""


class NoTestsError(BadInputError):
    """Raised for a problem without a single test."""


class SandboxError(StepCoderError, RuntimeError):
    """Raised when a program could not be executed for a reason that is ours, not the program's."""


class IsolationError(SandboxError):
    """Raised with `isolation="strict"` where a layer is missing: names each, what it stops, and the fix."""
