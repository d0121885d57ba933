"""`stepcoder-trl curriculum`: list the curriculum stages of solutions."""

from __future__ import annotations

import argparse
import warnings
from typing import Any

from stepcoder_trl.cli.outputs import check_outputs
from stepcoder_trl.cli.progress_bar import progress
from stepcoder_trl.curriculum import curriculum_stages, find_conditionals
from stepcoder_trl.data.programs import SolutionRow, read_solutions
from stepcoder_trl.jsonl import write_rows
from stepcoder_trl.parsing import parse


EPILOG = """rows of SOLUTIONS: {"id" or "task_id", "canonical_solution", "starter_code"?}, or problems in any
known format.
rows of STAGES: {"id", "conditionals": [{"kind", "line"}], "stages": [{"stage", "line", "prefix"}]}. The stages go from
the first one of training to scratch (stage 0, line 1, empty prefix).
The paper does not say which statements are conditional. --kinds selects them:
  statements  if, elif, for, async for, while, try, match (default)
  scope       the kinds of APPS+'s `scope` field, which include functions, classes, comprehensions and lambdas

example:
  stepcoder-trl curriculum solutions.jsonl --out stages.jsonl
"""
_NAMED = 5  # solutions that a warning names


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the verb."""
    add = parser.add_argument
    add("solutions", metavar="SOLUTIONS", help="Read solutions from this file (-: standard input).")
    add("--out", required=True, metavar="STAGES", help="Write stages to this JSONL file (-: standard output).")
    add(
        "--kinds",
        choices=("statements", "scope"),
        default="statements",
        help="Select the statements at which a stage may start (see below).",
    )


def run(arguments: argparse.Namespace) -> int:
    """Write the stages of all rows and return the exit status."""
    check_outputs({"--out": arguments.out}, [arguments.solutions])
    rows = read_solutions(arguments.solutions)
    broken = [str(row.id) for row in rows if parse(row.canonical_solution) is None]
    if broken:
        names = ", ".join(broken[:_NAMED]) + ", ..." * (len(broken) > _NAMED)
        warnings.warn(
            f"{arguments.solutions}: {len(broken)} of {len(rows)} solutions do not compile ({names}). Their only "
            "stage is from scratch.",
            stacklevel=1,
        )
    write_rows(arguments.out, (_stages(row, arguments.kinds) for row in progress(rows, "cutting")))
    return 0


def _stages(row: SolutionRow, kinds: Any) -> dict[str, Any]:
    solution, starter_code = row.canonical_solution, row.starter_code
    return {
        "id": row.id,
        "conditionals": [{"kind": found.kind, "line": found.line} for found in find_conditionals(solution, kinds)],
        "stages": [
            {"stage": stage.stage, "line": stage.line, "prefix": stage.prefix}
            for stage in curriculum_stages(solution, starter_code, kinds)
        ],
    }
