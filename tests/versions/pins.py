"""
Print the lowest versions that setup.cfg allows, as requirements for pip.

    python -m tests.versions.pins            # accelerate==1.10.1 ... trl==1.0
    python -m tests.versions.pins torch=2.13.0

Extras whose packages have no wheel or need a GPU are left out. A `name=version` takes the place of a lowest version.
"""

from __future__ import annotations

import configparser
import sys
from collections.abc import Iterator
from pathlib import Path


SETUP = Path(__file__).parents[2] / "setup.cfg"
EXTRAS = ("baselines", "grpo", "plots", "test")


def requirements(text: str, extras: tuple[str, ...] = EXTRAS) -> list[str]:
    """Return the requirements of a setup.cfg, each once, without those of other extras."""
    config = configparser.RawConfigParser()
    config.read_string(text)
    tables = [config["options"]["install_requires"], *(config["options.extras_require"][name] for name in extras)]
    return sorted({line for table in tables for line in table.split()})


def lowest(required: list[str], instead: dict[str, str]) -> Iterator[str]:
    """Yield each requirement `name>=version` as `name==version`."""
    for requirement in required:
        name, bound, version = requirement.partition(">=")
        if not bound:
            raise ValueError(f"{requirement!r} in setup.cfg has no lowest version. Write `{name}>=...`.")
        yield f"{name}=={instead.get(name, version)}"


if __name__ == "__main__":
    found = requirements(SETUP.read_text(encoding="utf-8"))
    print(*lowest(found, dict(word.split("=", 1) for word in sys.argv[1:])))
