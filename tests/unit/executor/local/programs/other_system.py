# ruff: noqa: E402, F401 - some modules are imported before, some after the names are deleted
"""Run programs where neither this process nor the fork server has what only Linux has. Print what came of them."""

# These import names that only Linux has, so they come first.
import asyncio
import ctypes
import logging
import random
import subprocess
import tempfile
import threading
import urllib.request
from pathlib import Path


WITHOUT_LINUX = (Path(__file__).parent / "without_linux.py").read_text()
PROGRAMS = (
    "def f(x): return 2 * x",
    "def f(x):\n    if x > 1:\n        return 1 / 0\n    return 2",
)
TESTS = {"type": "call", "fn_name": "f", "inputs": [[1], [2]], "outputs": [2, 4]}

exec(WITHOUT_LINUX)

import stepcoder_trl.executor.remote.executor
import stepcoder_trl.executor.server.main
import stepcoder_trl.executor.server.once
from stepcoder_trl.executor import CodeExecutor, ExecutorConfig
from stepcoder_trl.executor.local import server_process


bootstrap = server_process._bootstrap
server_process._bootstrap = lambda *descriptors: (
    "import ctypes, random, tempfile, threading, asyncio, platform; "
    f"exec({WITHOUT_LINUX!r}); {bootstrap(*descriptors)}"
)
with CodeExecutor(ExecutorConfig(num_workers=1)) as executor:
    for program in PROGRAMS:
        execution = executor.run(program, TESTS)
        print(execution.outcome, sorted(execution.executed_lines))
    print([layer for layer, is_active in executor.layers.items() if is_active])
