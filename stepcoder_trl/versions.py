"""Versions of the packages that a run depends on."""

from __future__ import annotations

import platform
from importlib import metadata


PACKAGES = (
    *("stepcoder-trl", "trl", "transformers", "torch", "accelerate", "peft", "datasets", "deepspeed", "coverage"),
    *("tokenizers", "rich", "matplotlib"),
)


def versions(*others: str) -> dict[str, str]:
    """
    Return the versions of Python and of installed packages.

    Args:
        others (`str`):
            Names of packages besides `PACKAGES`.

    Returns:
        `dict[str, str]`: Version by name, with Python as `python`. Packages that are not installed are left out.
    """
    found = {"python": platform.python_version()}
    for name in (*PACKAGES, *others):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found
