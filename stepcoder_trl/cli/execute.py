"""`stepcoder-trl execute`: run programs against their tests."""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from statistics import fmean
from typing import Any

from stepcoder_trl.cli.executor_flags import add_executor_arguments, add_memory, add_workers, executor_choice
from stepcoder_trl.cli.outputs import check_outputs
from stepcoder_trl.cli.progress_bar import progress
from stepcoder_trl.data.programs import ProgramRow, read_programs
from stepcoder_trl.errors import SandboxError
from stepcoder_trl.executor import BaseBackend, ExecutorConfig
from stepcoder_trl.jsonl import write_rows
from stepcoder_trl.reports.rollouts import visible
from stepcoder_trl.rewards import unit_test_score
from stepcoder_trl.steps.solutions import with_runs_inside
from stepcoder_trl.types import Execution, Outcome


_SHOWN = 10  # programs that the summary lists
_CELL_LENGTH = 160


EPILOG = """rows of PROGRAMS: {"id" or "task_id", "program", "tests"}. A problem without program, in any known
format, runs its canonical solution. tests is one of the forms of docs/data.md, such as
  {"type": "stdio", "inputs": [str], "outputs": [str], "fn_name"?: str}
  {"type": "call", "fn_name": str, "inputs": [[argument]], "outputs": [value]}
  {"type": "assert", "setup": str, "asserts": [str]}
rows of RESULTS, in the order given: {"id", "outcome", "score", "passed", "total", "tests", "executed_lines",
  "kept_lines", "time_s"}. Scores of the paper: 1 passed, -0.3 failed, -0.6 runtime error, -1 compile error.
exit status: 0 done, 1 some rows could not be executed (outcome null, with an error), 2 bad input.

example:
  echo '{"id": 1, "program": "print(7)", "tests": {"type": "stdio", "inputs": [""], "outputs": ["7"]}}' \\
    | stepcoder-trl execute - --out -
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the verb."""
    parser.usage = "%(prog)s PROGRAMS [--out RESULTS] [options]"
    add = parser.add_argument
    add("programs", metavar="PROGRAMS", help="Read programs from this file (-: standard input).")
    add("--out", default="-", metavar="RESULTS", help="Write results to this JSONL file (default: standard output).")
    add_workers(add)
    add(
        "--timeout-s",
        type=float,
        default=3.0,
        metavar="S",
        help="Limit the CPU seconds per test (default: 3). A row may override it.",
    )
    add(
        "--program-timeout-s",
        type=float,
        metavar="S",
        help="Limit the CPU seconds of all tests of a program (default: five times the limit per test).",
    )
    add_memory(add, "Limit the address space to M MiB (default: 512). A row may override it.")
    add("--stop-on-first-failure", action="store_true", help="Skip the tests after the first one that does not pass.")
    add(
        "--fresh-process-per-test",
        action="store_true",
        help="Run every test in a new process, so that tests cannot affect each other.",
    )
    add(
        "--float-tolerance",
        type=float,
        metavar="T",
        help="Compare numbers in standard output with this tolerance (default: compare them as text).",
    )
    add_executor_arguments(parser)
    add(
        "--isolation",
        choices=("auto", "strict", "none"),
        default="auto",
        help="Select the isolation layers. auto (default): all that this machine has. strict: fail if one is missing. "
        "none: resource limits only.",
    )


def run(arguments: argparse.Namespace) -> int:
    """Execute all rows and return the exit status."""
    check_outputs({"--out": arguments.out}, [arguments.programs])
    backend = _backend(arguments)
    jobs = read_programs(arguments.programs)
    done: list[dict[str, Any]] = []

    def results() -> Iterator[dict[str, Any]]:
        with backend:
            futures = [backend.submit(job.program, job.tests) for job in jobs]
            for job, future in zip(jobs, progress(futures, "executing"), strict=True):
                row = _result(job, future, backend)
                done.append(row)
                yield row

    write_rows(arguments.out, results())
    print("\n".join(_summary(done)), file=sys.stderr)
    return 1 if any(row["outcome"] is None for row in done) else 0


def _summary(rows: Sequence[dict[str, Any]]) -> list[str]:
    """Return the lines of the summary: number of programs by outcome, and the first that did not pass."""
    counts = Counter(row["outcome"] or "could not be executed" for row in rows)
    scores = [row["score"] for row in rows if row["score"] is not None]
    mean = f"; mean score {fmean(scores):+.3f}" if scores else ""
    lines = [f"{len(rows)} programs: {', '.join(f'{count} {name}' for name, count in counts.most_common())}{mean}"]
    others = [row for row in rows if row["outcome"] != Outcome.PASSED]
    for row in others[:_SHOWN]:
        if row["outcome"] is None:
            lines.append(f"  {_cell(row['id'])}  could not be executed  {_cell(row['error'])}")
            continue
        message = next(test["message"] for test in row["tests"] if test["outcome"] != Outcome.PASSED)
        verdict = f"{row['outcome']}, {row['passed']} of {row['total']} tests"
        lines.append(f"  {_cell(row['id'])}  {verdict}  {_cell(message)}")
    if len(others) > _SHOWN:
        lines.append(f"  and {len(others) - _SHOWN} more that did not pass")
    return lines


def _cell(value: str | int) -> str:
    """Return a value in one line for the terminal."""
    return visible(" ".join(str(value).split()))[:_CELL_LENGTH]


# Flags with the same name as a setting of the executor.
_SHARED_SETTINGS = (
    *("num_workers", "timeout_s", "program_timeout_s", "memory_limit_bytes", "isolation", "stop_on_first_failure"),
    *("fresh_process_per_test", "float_tolerance"),
)


def _backend(arguments: argparse.Namespace) -> BaseBackend:
    settings = {name: getattr(arguments, name) for name in _SHARED_SETTINGS}
    config = ExecutorConfig(**settings)
    return executor_choice(arguments, config).open()


def _result(job: ProgramRow, future: Future[Execution], backend: BaseBackend) -> dict[str, Any]:
    """Return a row of the results. The tests run with a canonical solution where it passes only so, as in training."""
    try:
        runs: list[Execution | SandboxError] = [future.result()]
    except SandboxError as error:
        runs = [error]
    if job.is_solution:
        runs, _ = with_runs_inside([job.program], [job.tests], runs, backend)
    execution = runs[0]
    if isinstance(execution, SandboxError):
        return {"id": job.id, "outcome": None, "score": None, "error": str(execution)}
    return {
        "id": job.id,
        "outcome": execution.outcome.value,
        "score": unit_test_score(execution),
        "passed": execution.num_passed,
        "total": len(execution.tests),
        "tests": [
            {"outcome": test.outcome.value, "time_s": test.time_s, "message": test.message, "trusted": test.trusted}
            for test in execution.tests
        ],
        "executed_lines": sorted(execution.executed_lines),
        "kept_lines": sorted(execution.kept_lines),
        "time_s": execution.time_s,
    }
