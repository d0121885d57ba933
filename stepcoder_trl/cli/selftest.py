"""`stepcoder-trl selftest`: test the sandbox on this machine.

Runs hostile programs (fork bombs, forged results, escapes, floods, endless loops, ...) and correct programs that naive
harnesses fail, and checks their outcomes. Then looks for leftovers: processes, files, shared memory, dead fork
servers, memory growth. Prints every failure.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable

from stepcoder_trl.cli.executor_flags import add_executor_arguments, add_workers, executor_choice
from stepcoder_trl.cli.outputs import check_outputs
from stepcoder_trl.cli.progress_bar import progress_bar
from stepcoder_trl.executor import ExecutorConfig
from stepcoder_trl.executor.selftest import Case, SelftestFinding, SelftestReport, check_sandbox, run_selftest
from stepcoder_trl.executor.selftest.suite import choose
from stepcoder_trl.jsonl import write_json


EPILOG = """exit status: 0 no failures, 1 failures (printed as a table), 2 bad input.

A hostile program with an unexpected outcome has found a gap in the sandbox. On a busy machine it may also be a
timeout: run the program alone with --only NAME. The last line names the sandbox layers that this machine lacks;
docs/sandbox.md explains how to get them. stepcoder_trl/executor/selftest/programs holds one file per program.

examples:
  stepcoder-trl selftest                          run all programs with one worker, in about five minutes
  stepcoder-trl selftest --workers 4              run four in parallel; a leftover then names up to four programs
  stepcoder-trl selftest --only processes_fork_bomb --out report.json

To test your own backend:
  from stepcoder_trl.executor.selftest import run_selftest
  report = run_selftest(backend)                  # needs backend.submit(program, tests) -> Future[Execution]
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the verb."""
    add = parser.add_argument
    add(
        "--isolation",
        choices=("auto", "strict", "none"),
        default="auto",
        help="Select the isolation layers, as in `execute --help` (default: auto). With none, hostile programs can "
        "damage the machine: use a disposable one.",
    )
    add_executor_arguments(parser)
    add_workers(add, default=1)
    add("--only", nargs="+", default=(), metavar="NAME", help="Run only these programs.")
    add("--out", metavar="JSON", help="Write the report to this file (-: standard output).")


def run(arguments: argparse.Namespace) -> int:
    """Run the suite and return the exit status."""
    check_outputs({"--out": arguments.out}, [])
    with progress_bar("selftest", len(choose(arguments.only))) as advance:
        report = _check(arguments, on_case=lambda case: advance())
    print("\n".join(_lines(report)), file=sys.stderr if arguments.out == "-" else sys.stdout)
    if arguments.out:
        write_json(arguments.out, report.to_json())
    return 0 if report.ok else 1


def _check(arguments: argparse.Namespace, on_case: Callable[[Case], None]) -> SelftestReport:
    config = ExecutorConfig(num_workers=arguments.num_workers, isolation=arguments.isolation)
    choice = executor_choice(arguments, config)
    if choice.place == "local":
        return check_sandbox(config, arguments.only, on_case)
    with choice.open() as executor:
        return run_selftest(executor, arguments.only, at_once=arguments.num_workers, on_case=on_case)


def _lines(report: SelftestReport) -> list[str]:
    result = "no failures" if report.ok else f"{len(report.findings)} failures"
    count = f"{report.hostile} hostile and {report.correct} correct programs"
    lines = [*_table(report.findings), f"{count} in {report.wall_s:.0f} s: {result}"]
    lines.append("checked: " + ", ".join(report.checked))
    if missing := [name for name, active in report.layers.items() if not active]:
        lines.append(f"missing sandbox layers: {', '.join(missing)}; docs/sandbox.md explains how to get them")
    return lines


def _table(findings: tuple[SelftestFinding, ...]) -> list[str]:
    if not findings:
        return []
    rows = [("program", "expected", "found", "detail")]
    rows += [(f"{one.kind}/{one.name}", one.expected, one.found, one.detail) for one in findings]
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    return [
        "  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[3]]).rstrip()
        for row in rows
    ]
