"""Correct programs of all kinds of tests, each with a text of its own."""

from __future__ import annotations

import random
from typing import Any


Job = tuple[str, dict[str, Any]]  # program and tests


def correct_jobs(count: int, draw: random.Random, pause_s: float = 0.02) -> list[Job]:
    """Return programs that take a while and pass, of each kind by turns."""
    kinds = (_stdio, _call, _check, _assert)
    return [kinds[number % len(kinds)](draw.randrange(10**9), pause_s) for number in range(count)]


def _stdio(number: int, pause_s: float) -> Job:
    tests = {"type": "stdio", "inputs": ["a", "b"], "outputs": [f"a{number}", f"b{number}"]}
    return f"import time\ntime.sleep({pause_s})\nprint(input() + '{number}')\n", tests


def _call(number: int, pause_s: float) -> Job:
    program = f"import time\ndef f(n):\n    time.sleep({pause_s})\n    return [n, {number}]\n"
    return program, {"type": "call", "fn_name": "f", "inputs": [[1], [2]], "outputs": [[1, number], [2, number]]}


def _check(number: int, pause_s: float) -> Job:
    setup = f"def check(candidate):\n    for n in range(3):\n        assert candidate(n) == n + {number}\n"
    program = f"import time\ndef f(n):\n    time.sleep({pause_s / 2})\n    return n + {number}\n"
    return program, {"type": "assert", "setup": setup, "asserts": ["check(f)"]}


def _assert(number: int, pause_s: float) -> Job:
    program = f"import time\ndef f(n):\n    time.sleep({pause_s})\n    return n + {number}\n"
    return program, {"type": "assert", "setup": "", "asserts": [f"assert f({n}) == {n + number}" for n in range(2)]}
