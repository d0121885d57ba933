"""Error for test modules that cannot be run."""

from __future__ import annotations


class UntranslatableError(ValueError):
    """Raised for a test module that cannot be run. The message says why."""
