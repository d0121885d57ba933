"""Programs for an executor, and their tests."""

from __future__ import annotations

from typing import Any


LONG_S = 60  # no correct wait comes near it
SLEEPER = "import time\ntime.sleep(1000)\n"
ONE = {"type": "stdio", "inputs": [""], "outputs": ["1"]}
PATIENT = {**ONE, "timeout_s": 300}


def prints(number: int, pause_s: float = 0.0) -> tuple[str, dict[str, Any]]:
    """Return a program that prints a number, with tests that only this program passes."""
    tests = {"type": "stdio", "inputs": ["a", "b"], "outputs": [f"a{number}", f"b{number}"]}
    return f"import time\ntime.sleep({pause_s})\nprint(input() + '{number}')\n", tests
