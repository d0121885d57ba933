"""`stepcoder-trl execute`: run programs under their tests."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from concurrent.futures import Future
from typing import Any

from stepcoder_trl.cli.progress_bar import progress
from stepcoder_trl.errors import BadInputError, SandboxError
from stepcoder_trl.executor import BaseBackend, CodeExecutor, ExecutorConfig
from stepcoder_trl.executor.remote.executor import TOKEN_VARIABLE, RemoteConfig, RemoteExecutor
from stepcoder_trl.executor.verdict.schema import validate_tests
from stepcoder_trl.jsonl import Row, read_rows, write_rows
from stepcoder_trl.rewards import unit_test_score
from stepcoder_trl.types import Execution


EPILOG = """rows of PROGRAMS: {"id", "program", "tests"}, one JSON object per line. tests is one of
  {"type": "stdio", "inputs": [str], "outputs": [str], "fn_name"?: str}
  {"type": "call", "fn_name": str, "inputs": [[argument]], "outputs": [value]}
  {"type": "assert", "setup": str, "asserts": [str]}
rows of RESULTS, in the order given: {"id", "outcome", "score", "passed", "total", "tests", "executed_lines",
  "kept_lines", "time_s"}. score is the paper's: 1 passed, -0.3 failed, -0.6 runtime error, -1 compile error.
exit status: 0 done, 1 some rows could not be executed (outcome null, with an error), 2 bad input.

example:
  echo '{"id": 1, "program": "print(7)", "tests": {"type": "stdio", "inputs": [""], "outputs": ["7"]}}' \\
    | stepcoder-trl execute - --out -
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the verb."""
    parser.add_argument("programs", metavar="PROGRAMS", help="JSONL file of programs, - for standard input")
    parser.add_argument("--out", required=True, metavar="RESULTS", help="JSONL file to write, - for standard output")
    parser.add_argument("--workers", type=int, metavar="N", help="programs at a time (default: one per core)")
    parser.add_argument(
        "--timeout-s",
        type=float,
        default=3.0,
        metavar="S",
        help="CPU seconds per test (default: 3); a row's value wins",
    )
    parser.add_argument(
        "--program-timeout-s",
        type=float,
        metavar="S",
        help="CPU seconds of all tests of a program together (default: five times the limit of one)",
    )
    parser.add_argument(
        "--memory-mb",
        type=float,
        default=512.0,
        metavar="M",
        help="address space in MiB (default: 512); a row's value wins",
    )
    parser.add_argument(
        "--stop-on-first-failure", action="store_true", help="do not run the tests after the first that does not pass"
    )
    parser.add_argument(
        "--fresh-process-per-test",
        action="store_true",
        help="a process for every test, so that nothing one leaves in imported modules reaches the next",
    )
    parser.add_argument(
        "--float-tolerance",
        type=float,
        metavar="T",
        help="compare words of standard output that are numbers with this tolerance (default: as text)",
    )
    parser.add_argument(
        "--backend-url",
        metavar="URL",
        help="run the programs in the HTTP sandbox at this address, which speaks SandboxFusion's /run_code; its "
        f"bearer token is taken from {TOKEN_VARIABLE}",
    )
    parser.add_argument(
        "--isolation",
        choices=("auto", "strict", "none"),
        default="auto",
        help="auto: every layer this machine has (default); strict: refuse to run without one; none: limits only",
    )


def run(arguments: argparse.Namespace) -> int:
    """Execute all rows; returns the exit status."""
    backend = _backend(arguments)
    jobs = [_parse(row) for row in read_rows(arguments.programs)]
    failures = 0

    def results() -> Iterator[dict[str, Any]]:
        nonlocal failures
        with backend:
            futures = [backend.submit(program, tests) for _, program, tests in jobs]
            for (identifier, _, _), future in zip(jobs, progress(futures, "executing"), strict=True):
                row = _result(identifier, future)
                failures += row["outcome"] is None
                yield row

    write_rows(arguments.out, results())
    if failures:
        print(
            f"stepcoder-trl: {failures} of {len(jobs)} rows could not be executed; see their `error`.", file=sys.stderr
        )
    return 1 if failures else 0


# Flags that are settings of every backend.
_SAME_NAMES = (
    *("timeout_s", "program_timeout_s", "isolation", "stop_on_first_failure"),
    *("fresh_process_per_test", "float_tolerance"),
)


def _backend(arguments: argparse.Namespace) -> BaseBackend:
    limits = {
        **{name: getattr(arguments, name) for name in _SAME_NAMES},
        "memory_limit_bytes": _bytes(arguments.memory_mb),
    }
    if arguments.backend_url is None:
        return CodeExecutor(ExecutorConfig(num_workers=arguments.workers, **limits))
    if arguments.workers is not None:
        limits["num_workers"] = arguments.workers
    return RemoteExecutor(RemoteConfig(arguments.backend_url, **limits))


def _bytes(mebibytes: float) -> int:
    if not 1 <= mebibytes <= 2**40:
        raise BadInputError(f"`--memory-mb` is {mebibytes}, but must be at least 1. It counts MiB: write 512.")
    return int(mebibytes * 2**20)


def _parse(row: Row) -> tuple[str | int, str, dict[str, Any]]:
    return row.id, row.text("program"), validate_tests(row.get("tests"), row.where)


def _result(identifier: str | int, future: Future[Execution]) -> dict[str, Any]:
    try:
        execution = future.result()
    except SandboxError as error:
        return {"id": identifier, "outcome": None, "score": None, "error": str(error)}
    return {
        "id": identifier,
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
