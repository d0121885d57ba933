"""A script in a process of its own, and programs for it to run."""

from __future__ import annotations

import os
import select
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.processes import descendants, parent_of, soon, with_temporary_folder


LONG_S = 60  # no correct wait in this file comes near it
SLEEPER = "import time\ntime.sleep(1000)\n"
ONE = {"type": "stdio", "inputs": [""], "outputs": ["1"]}
PATIENT = {**ONE, "timeout_s": 300}
MARKS = [
    pytest.mark.sandbox,
    pytest.mark.skipif(sys.platform != "linux", reason="the fork server is made for Linux"),
]
PRELUDE = f"""
import multiprocessing, os, signal, sys, threading, time
from stepcoder_trl import CodeExecutor, ExecutorConfig, Outcome, SandboxError
ONE, PATIENT, SLEEPER = {ONE!r}, {PATIENT!r}, {SLEEPER!r}
"""
MANY_SLEEPERS = """
executor = CodeExecutor(ExecutorConfig(num_workers=2))
executor.run("print(1)", ONE)
print("ready", flush=True)
"""


def prints(number: int, pause_s: float = 0.0) -> tuple[str, dict[str, Any]]:
    """Program that prints a number, with its tests: no other program passes them."""
    tests = {"type": "stdio", "inputs": ["a", "b"], "outputs": [f"a{number}", f"b{number}"]}
    return f"import time\ntime.sleep({pause_s})\nprint(input() + '{number}')\n", tests


class Script:
    """Python script in a session and a temporary folder of its own."""

    def __init__(self, folder: Path, text: str, *options: str) -> None:
        self.folder = folder
        self.process = subprocess.Popen(
            [sys.executable, *options, *([] if "-i" in options else ["-c", PRELUDE + text])],
            env={**os.environ, "TMPDIR": str(folder), "PYTHONWARNINGS": "ignore"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        if "-i" in options:
            assert self.process.stdin is not None
            self.process.stdin.write(PRELUDE + text)

    def line(self) -> str:
        """Next line of the script's output."""
        assert self.process.stdout is not None
        assert select.select([self.process.stdout], [], [], LONG_S)[0]
        return str(self.process.stdout.readline().strip())

    def wait_for_program(self, count: int = 1) -> None:
        """Wait until servers run programs: children of children."""
        mine = self.process.pid
        assert soon(lambda: sum(parent_of(pid) != mine for pid in descendants(mine)) >= count)

    def end(self) -> tuple[int, str, str]:
        """Exit status, output and errors of a script that ends by itself, without leaving anything."""
        output, errors = self.process.communicate(timeout=LONG_S)
        self.assert_nothing_left()
        return self.process.returncode, output, errors

    def assert_nothing_left(self) -> None:
        assert soon(lambda: not with_temporary_folder(self.folder)), with_temporary_folder(self.folder)
        # multiprocessing keeps folders of its own
        assert soon(lambda: not list(self.folder.glob("stepcoder-*"))), list(self.folder.iterdir())
