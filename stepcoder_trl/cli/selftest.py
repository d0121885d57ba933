"""`stepcoder-trl selftest`: does the sandbox hold on this machine?

Runs hostile programs (fork bombs, forged verdicts, escapes, floods, endless loops, ...) and correct programs that
naive harnesses fail, each with its right outcome, and looks at what they leave behind: processes, files, shared
memory, fork servers that died, memory of the parent. Prints what went wrong.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable

from stepcoder_trl.cli.progress_bar import Progress
from stepcoder_trl.executor import ExecutorConfig, RemoteConfig, RemoteExecutor
from stepcoder_trl.executor.selftest import Case, Finding, SelftestReport, check_sandbox, run_selftest
from stepcoder_trl.executor.selftest.suite import choose
from stepcoder_trl.jsonl import write_json


EPILOG = """exit status: 0 everything held, 1 something went wrong (the table says what), 2 bad input.

A hostile program that gets another outcome than expected has found a gap, unless the machine is so loaded that a
timeout comes first: run it alone with --only NAME. A layer of the sandbox that this machine lacks is named at the end;
docs/sandbox.md says what to do about each. Programs are in stepcoder_trl/executor/selftest/programs, one per file.

examples:
  stepcoder-trl selftest                          all programs, one worker: about three minutes
  stepcoder-trl selftest --workers 4              four at a time; a finding then names up to four programs
  stepcoder-trl selftest --only processes_fork_bomb --out report.json

For a backend of your own:
  from stepcoder_trl.executor.selftest import run_selftest
  report = run_selftest(backend)                  backend.submit(program, tests) -> Future[Execution]
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the verb."""
    parser.add_argument(
        "--isolation",
        choices=("auto", "strict", "none"),
        default="auto",
        help="layers to test (default: auto). With none, hostile programs do real harm: use a throw-away machine",
    )
    parser.add_argument(
        "--backend-url",
        metavar="URL",
        help="test the HTTP sandbox at this address instead (outcomes and lines only); see `execute --help`",
    )
    parser.add_argument("--workers", type=int, default=1, metavar="N", help="programs at a time (default: 1)")
    parser.add_argument("--only", nargs="+", default=(), metavar="NAME", help="run these programs only")
    parser.add_argument("--out", metavar="JSON", help="write the report to this file, - for standard output")


def run(arguments: argparse.Namespace) -> int:
    """Run the suite; returns the exit status."""
    with Progress("selftest", total=len(choose(arguments.only))) as progress:
        report = _check(arguments, on_case=lambda case: progress.advance())
    if arguments.out:
        write_json(arguments.out, report.to_json())
    print("\n".join(_lines(report)), file=sys.stderr if arguments.out == "-" else sys.stdout)
    return 0 if report.ok else 1


def _check(arguments: argparse.Namespace, on_case: Callable[[Case], None]) -> SelftestReport:
    workers, isolation = arguments.workers, arguments.isolation
    if arguments.backend_url is None:
        config = ExecutorConfig(num_workers=workers, isolation=isolation)
        return check_sandbox(config, arguments.only, on_case)
    with RemoteExecutor(RemoteConfig(arguments.backend_url, num_workers=workers, isolation=isolation)) as executor:
        return run_selftest(executor, arguments.only, at_once=workers, on_case=on_case)


def _lines(report: SelftestReport) -> list[str]:
    verdict = "all held" if report.ok else f"{len(report.findings)} findings"
    count = f"{report.hostile} hostile and {report.correct} correct programs"
    lines = [*_table(report.findings), f"{count} in {report.wall_s:.0f} s: {verdict}"]
    lines.append("checked: " + ", ".join(report.checked))
    if missing := [name for name, in_force in report.layers.items() if not in_force]:
        lines.append(f"sandbox layers missing: {', '.join(missing)}; docs/sandbox.md says what to do about each")
    return lines


def _table(findings: tuple[Finding, ...]) -> list[str]:
    if not findings:
        return []
    rows = [("program", "expected", "found", "detail")]
    rows += [(f"{one.kind}/{one.name}", one.expected, one.found, one.detail) for one in findings]
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    return [
        "  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[3]]).rstrip()
        for row in rows
    ]
