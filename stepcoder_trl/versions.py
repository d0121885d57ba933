"""Versions of the packages that a run depends on."""

from __future__ import annotations

import platform
from importlib import metadata


PACKAGES = (
    *("stepcoder-trl", "trl", "transformers", "torch", "accelerate", "peft", "datasets", "deepspeed", "coverage"),
    *("tokenizers", "rich", "matplotlib"),
)


def versions(*more: str) -> dict[str, str]:
    """
    Versions of Python (as `python`) and of the packages that are installed.

    Args:
        more (`str`):
            Packages besides `PACKAGES`.

    Returns:
        `dict[str, str]`: Version by name. A package that is not installed is left out.
    """
    found = {"python": platform.python_version()}
    for name in (*PACKAGES, *more):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found
