"""`stepcoder-trl execute`: run programs against their tests."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from concurrent.futures import Future
from typing import Any

from stepcoder_trl.cli.progress_bar import progress
from stepcoder_trl.errors import BadInputError, SandboxError
from stepcoder_trl.executor import BaseBackend, CodeExecutor, ExecutorConfig, RemoteConfig, RemoteExecutor
from stepcoder_trl.executor.remote.client import TOKEN_VARIABLE
from stepcoder_trl.executor.verdict.schema import Tests
from stepcoder_trl.jsonl import Row, read_rows, write_rows
from stepcoder_trl.rewards import unit_test_score
from stepcoder_trl.types import Execution


EPILOG = """rows of PROGRAMS: {"id", "program", "tests"}, one JSON object per line. tests is one of
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
    parser.usage = "%(prog)s PROGRAMS --out RESULTS [options]"
    add = parser.add_argument
    add("programs", metavar="PROGRAMS", help="Read programs from this JSONL file (-: standard input).")
    add("--out", required=True, metavar="RESULTS", help="Write results to this JSONL file (-: standard output).")
    add("--workers", type=int, metavar="N", help="Run N programs in parallel (default: one per core).")
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
    add(
        "--memory-mb",
        type=float,
        default=512.0,
        metavar="M",
        help="Limit the address space to M MiB (default: 512). A row may override it.",
    )
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
    add(
        "--backend-url",
        metavar="URL",
        help="Run the programs in the HTTP sandbox at this address, which must implement SandboxFusion's /run_code. "
        f"The bearer token is read from {TOKEN_VARIABLE}.",
    )
    add(
        "--isolation",
        choices=("auto", "strict", "none"),
        default="auto",
        help="Select the isolation layers. auto (default): all that this machine has. strict: fail if one is missing. "
        "none: resource limits only.",
    )


def run(arguments: argparse.Namespace) -> int:
    """Execute all rows and return the exit status."""
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
            f"stepcoder-trl: {failures} of {len(jobs)} rows could not be executed. See their `error`.", file=sys.stderr
        )
    return 1 if failures else 0


# Flags with the same name as a setting of both executors.
_SHARED_SETTINGS = (
    *("timeout_s", "program_timeout_s", "isolation", "stop_on_first_failure"),
    *("fresh_process_per_test", "float_tolerance"),
)


def _backend(arguments: argparse.Namespace) -> BaseBackend:
    limits = {
        **{name: getattr(arguments, name) for name in _SHARED_SETTINGS},
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


def _parse(row: Row) -> tuple[str | int, str, Tests]:
    return row.id, row.text("program"), Tests.parse(row.get("tests"), row.where)


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
