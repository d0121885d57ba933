"""`stepcoder-trl env`: versions and sandbox layers, for bug reports."""

from __future__ import annotations

import argparse
import platform

from stepcoder_trl.versions import PACKAGES, versions


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb has none."""


def run(arguments: argparse.Namespace) -> int:
    """Print versions and layers; returns the exit status."""
    from stepcoder_trl.executor import CodeExecutor, ExecutorConfig
    from stepcoder_trl.executor.wire.system import num_cores

    print(f"platform: {platform.platform()}, {num_cores()} cores")
    found = versions()
    for name in ("python", *PACKAGES):
        print(f"{name}: {found.get(name, 'not installed')}")
    with CodeExecutor(ExecutorConfig(num_workers=1)) as executor:
        layers, missing = executor.layers, executor.missing_layers
    print("sandbox layers in force: " + ", ".join(name for name, there in layers.items() if there))
    for name, stops in missing.items():
        print(f"sandbox layer missing: {name}, which would have stopped: {stops}")
    return 0
