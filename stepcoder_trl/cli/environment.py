"""`stepcoder-trl env`: print package versions and sandbox layers, for bug reports."""

from __future__ import annotations

import argparse
import platform

from stepcoder_trl.versions import PACKAGES, versions


EPILOG = """example:
  stepcoder-trl env
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add no arguments: the verb has none."""


def run(arguments: argparse.Namespace) -> int:
    """Print versions and layers, and return the exit status."""
    from stepcoder_trl.executor import CodeExecutor, ExecutorConfig
    from stepcoder_trl.executor.wire.system import num_cores

    print(f"platform: {platform.platform()}, {num_cores()} cores")
    found = versions()
    for name in ("python", *PACKAGES):
        print(f"{name}: {found.get(name, 'not installed')}")
    with CodeExecutor(ExecutorConfig(num_workers=1)) as executor:
        layers, missing = executor.layers, executor.missing_layers
    print("active sandbox layers: " + ", ".join(name for name, active in layers.items() if active))
    for name, stops in missing.items():
        print(f"missing sandbox layer: {name}, which would stop: {stops}")
    return 0
