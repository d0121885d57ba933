"""A Python script in a process of its own, and programs for its executor."""

from __future__ import annotations

import os
import select
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.processes import ON_LINUX, running_programs, soon, with_temporary_folder


ROOT = Path(__file__).parents[3]
MARKS = [pytest.mark.sandbox, ON_LINUX]
LONG_S = 60  # no correct wait comes near it
SLEEPER = "import time\ntime.sleep(1000)\n"
ONE = {"type": "stdio", "inputs": [""], "outputs": ["1"]}
PATIENT = {**ONE, "timeout_s": 300}
# First lines of scripts that are given as text.
IMPORTS = """
import os, sys, threading, time
from stepcoder_trl import CodeExecutor, ExecutorConfig
from tests.integration.lifetime.script import ONE, PATIENT, SLEEPER
"""
READY_EXECUTOR = """
executor = CodeExecutor(ExecutorConfig(num_workers=2))
executor.run("print(1)", ONE)
print("ready", flush=True)
"""


def prints(number: int, pause_s: float = 0.0) -> tuple[str, dict[str, Any]]:
    """Return a program that prints a number, with tests that only this program passes."""
    tests = {"type": "stdio", "inputs": ["a", "b"], "outputs": [f"a{number}", f"b{number}"]}
    return f"import time\ntime.sleep({pause_s})\nprint(input() + '{number}')\n", tests


class Script:
    """Python script in a session and a temporary folder of its own."""

    def __init__(self, folder: Path, *arguments: str, text: str = "") -> None:
        self.folder = folder
        self.process = subprocess.Popen(
            [sys.executable, *arguments],
            cwd=ROOT,
            env={**os.environ, "TMPDIR": str(folder), "PYTHONWARNINGS": "ignore"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        assert self.process.stdin is not None
        self.process.stdin.write(text)

    def line(self) -> str:
        """Read the next line of output."""
        assert self.process.stdout is not None
        assert select.select([self.process.stdout], [], [], LONG_S)[0]
        return str(self.process.stdout.readline().strip())

    def wait_for_program(self, count: int = 1) -> None:
        """Wait until servers run programs."""
        assert soon(lambda: len(running_programs(self.process.pid)) >= count)

    def end(self) -> tuple[int, str, str]:
        """Wait until the script ends and has left nothing. Return exit status, output and errors."""
        output, errors = self.process.communicate(timeout=LONG_S)
        self.assert_nothing_left()
        return self.process.returncode, output, errors

    def assert_nothing_left(self) -> None:
        assert soon(lambda: not with_temporary_folder(self.folder)), with_temporary_folder(self.folder)
        # multiprocessing keeps folders of its own
        assert soon(lambda: not list(self.folder.glob("stepcoder-*"))), list(self.folder.iterdir())
