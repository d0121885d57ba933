"""
Verdicts on programs that behave the same on every machine and Python version.

`python -m tests.fixed_verdicts FILE` writes the verdicts to a file, for comparison with those of another interpreter
or user.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from stepcoder_trl import CodeExecutor, Execution, ExecutorConfig, load_problems
from stepcoder_trl.executor.selftest.corpus import load


Sample = tuple[str, str, Any]  # name, program, tests
# Files with canonical solutions, and the step between the rows to take. Wrong solutions have fixed verdicts, too.
_FILES = {"humaneval.jsonl": 8, "mbpp.jsonl": 25, "apps_plus_train.jsonl": 12}
# The line at which an alarm rings depends on the machine. Tools that take the trace function's place, such as doctest,
# end the trace of coverage.py below Python 3.12, as trace functions of programs do.
_VARYING = re.compile("numpy|alarm|tools_of_the_library|tests_of_its_own|that_traces")
_TIMEOUT_S = 20.0  # no verdict depends on it


def samples() -> list[Sample]:
    """Return correct programs of the corpus, and canonical solutions from the folder `STEPCODER_DATA` if it is set."""
    cases = [case for case in load("correct") if not _VARYING.search(case.name)]
    found = [(case.name, case.program, case.tests) for case in cases]
    if "STEPCODER_DATA" in os.environ:
        for name, step in _FILES.items():
            problems = [p for p in load_problems(str(Path(os.environ["STEPCODER_DATA"], name))) if p.tests]
            found += [(p.task_id, p.canonical_solution, p.tests) for p in problems[::step]]
    return found


def verdict(execution: Execution) -> list[Any]:
    """Return the parts of an execution that must be the same everywhere: outcomes and lines, no times."""
    return [
        execution.outcome.value,
        [[test.outcome.value, test.message, test.error_line] for test in execution.tests],
        sorted(execution.executed_lines),
        sorted(execution.kept_lines),
    ]


def verdicts(executor: CodeExecutor, programs: Sequence[Sample]) -> dict[str, list[Any]]:
    """Return the verdict on each program by its name."""
    executions = executor.run_many([program for _, program, _ in programs], [tests for _, _, tests in programs])
    return {name: verdict(execution) for (name, _, _), execution in zip(programs, executions, strict=True)}


def differences(expected: dict[str, list[Any]], found: dict[str, list[Any]]) -> dict[str, Any]:
    """Return the expected and the found verdict of each program for which they differ."""
    return {name: (expected[name], found.get(name)) for name in expected if expected[name] != found.get(name)}


def new_executor(num_workers: int, *, fresh_process_per_test: bool = False) -> CodeExecutor:
    """Return an executor whose limits do not affect the verdicts."""
    config = ExecutorConfig(
        num_workers=num_workers, timeout_s=_TIMEOUT_S, fresh_process_per_test=fresh_process_per_test
    )
    return CodeExecutor(config)


if __name__ == "__main__":
    with new_executor(2) as executor:
        Path(sys.argv[1]).write_text(json.dumps(verdicts(executor, samples())), encoding="utf-8")
