"""`stepcoder-trl env`: print versions, hardware and sandbox layers, for bug reports."""

from __future__ import annotations

import argparse
import os
import platform
from collections.abc import Iterator
from pathlib import Path

from stepcoder_trl.versions import PACKAGES, versions


EPILOG = """example:
  stepcoder-trl env
"""
_OPTIONAL = ("vllm", "bitsandbytes", "tensorboard", "trackio", "wandb")
_CGROUP_LIMIT = Path("/sys/fs/cgroup/memory.max")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add no arguments: the verb has none."""


def run(arguments: argparse.Namespace) -> int:
    """Print versions, hardware and layers, and return the exit status."""
    from stepcoder_trl.executor import CodeExecutor, ExecutorConfig
    from stepcoder_trl.executor.wire.system import num_cores

    print(f"platform: {platform.platform()}, {num_cores()} cores")
    print(f"memory: {_memory()}")
    found = versions(*_OPTIONAL)
    for name in ("python", *PACKAGES, *_OPTIONAL):
        print(f"{name}: {found.get(name, 'not installed')}")
    print("\n".join(_accelerators()))
    with CodeExecutor(ExecutorConfig(num_workers=1)) as executor:
        layers, missing = executor.layers, executor.missing_layers
    print("active sandbox layers: " + ", ".join(name for name, active in layers.items() if active))
    for name, stops in missing.items():
        print(f"missing sandbox layer: {name}, which would stop: {stops}")
    return 0


def _memory() -> str:
    """Return the memory of the machine, and what a container may use of it."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limit = _CGROUP_LIMIT.read_text(encoding="ascii").strip() if _CGROUP_LIMIT.is_file() else "max"
    allowed = f", of which this container may use {_gib(int(limit))}" if limit.isdecimal() else ""
    return _gib(total) + allowed


def _accelerators() -> Iterator[str]:
    """Yield a line for CUDA or ROCm, and one for each GPU that PyTorch can use."""
    try:
        import torch
    except (ImportError, OSError) as error:  # OSError: a library of the build is missing
        yield f"GPUs: unknown, because torch cannot be imported ({' '.join(str(error).split())})"
        return
    yield f"CUDA that torch was built for: {torch.version.cuda or 'none'}"
    if torch.version.hip:
        yield f"ROCm that torch was built for: {torch.version.hip}"
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if not count:
        yield "GPUs: none that torch can use"
    for number in range(count):
        gpu = torch.cuda.get_device_properties(number)
        yield f"GPU {number}: {gpu.name}, {_gib(gpu.total_memory)}, compute capability {gpu.major}.{gpu.minor}"


def _gib(number: int) -> str:
    return f"{number / 2**30:.1f} GiB"
