"""Tests that several test modules run programs under."""

from __future__ import annotations

from stepcoder_trl import Execution


DOUBLE = {"type": "stdio", "inputs": ["3\n", "4\n"], "outputs": ["6\n", "8"]}
SUCCESSOR = {"type": "call", "fn_name": "f", "inputs": [[1], [2]], "outputs": [2, 3]}


def outcomes(execution: Execution) -> list[str]:
    """Return the outcome of each test."""
    return [test.outcome.value for test in execution.tests]
