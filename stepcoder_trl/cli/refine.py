"""`stepcoder-trl refine`: clean a dataset such as APPS by running its solutions, as the paper does for APPS+."""

from __future__ import annotations

import argparse
import sys
import textwrap
from collections.abc import Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from stepcoder_trl.cli.executor_flags import add_executor_arguments, add_workers, executor_choice
from stepcoder_trl.cli.outputs import check_output_folder
from stepcoder_trl.cli.progress_bar import progress_bar
from stepcoder_trl.data.formats import FORMAT_TITLES, RawRow, load_problems, read_raw_rows
from stepcoder_trl.data.problems import Problem
from stepcoder_trl.data.refine_rules import RULES
from stepcoder_trl.data.refine_run import RefinedRow, RefineSettings, refine, summarize_rows
from stepcoder_trl.errors import BadInputError
from stepcoder_trl.executor import ExecutorConfig
from stepcoder_trl.jsonl import json_text, make_folder, temporary_path, write_json, write_rows, write_text
from stepcoder_trl.reports.dataset_card import dataset_card
from stepcoder_trl.reports.plots import can_plot, plot_histograms


EPILOG = f"""APPS is a folder with one folder per problem, or a file in a format that the
package reads:
  {FORMAT_TITLES}

DIR then holds
  problems.jsonl, problems.parquet   the kept rows, in the problem format
  log.jsonl      {{"row", "task_id", "rule", "action", "detail"}} per row and rule
  summary.json   rows per rule, histograms of the kept rows
  plots.png      the histograms as plots (with the extra `plots`)
  README.md      dataset card
  rows.jsonl     finished rows; to continue, run the same command again

rules (docs/refine.md explains them):
{textwrap.indent(textwrap.fill(", ".join(RULES), 76), "  ")}

example:
  stepcoder-trl refine APPS/train --out apps_plus --benchmark humaneval.jsonl
"""
_FILES = (
    *("problems.jsonl", "problems.parquet", "log.jsonl", "summary.json", "plots.png", "README.md", "rows.jsonl"),
)
PLOTTED = {
    "difficulty": "Rows kept per difficulty",
    "tests": "Tests per row",
    "conditionals": "Conditional statements per canonical solution",
    "stages": "Stages of the curriculum per row",
    "unexecuted": "Lines of the canonical solution that its tests do not execute",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the verb."""
    parser.usage = "%(prog)s APPS --out DIR [options]"
    add = parser.add_argument
    add("source", metavar="APPS", help="Read problems from this file or folder.")
    add("--out", required=True, metavar="DIR", help="Write results to this folder.")
    add("--benchmark", nargs="+", default=[], metavar="FILE", help="Drop rows that are in these, or share lines.")
    for name, metavar, text in (
        ("runs", "K", "Run each solution K times (default: 2)."),
        ("max_solutions", "N", "Run at most N solutions per row (default: 20)."),
        ("timeout_s", "S", "Limit the CPU seconds per test (default: 10)."),
        ("max_overlap", "SHARE", "Allow at most this share of lines in common with a benchmark (default: 0.5)."),
        (
            "extend_to",
            "N",
            "Add mutated inputs on which all solutions agree, up to N tests per row (default: 0, adds none).",
        ),
        ("seed", None, "Set the seed of the mutations (default: 0)."),
    ):
        default = getattr(RefineSettings, name)
        add(_flag(name), type=type(default), default=default, metavar=metavar, help=text)
    add_workers(add)
    add_executor_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Refine all rows and return the exit status."""
    settings = _settings(arguments)
    choice = executor_choice(arguments, ExecutorConfig(num_workers=arguments.num_workers))
    check_output_folder("--out", arguments.out, _FILES, [arguments.source, *arguments.benchmark])
    if any((Path(arguments.out) / name).is_file() for name in ("config.json", "adapter_config.json")):
        raise BadInputError(f"`--out` is {arguments.out!r}, which holds a model. Name another folder.")
    benchmark = [problem for path in arguments.benchmark for problem in load_problems(path)]
    source = Path(arguments.source)
    raw_rows = read_raw_rows(source)
    _check_prompts_are_of_one_kind(raw_rows)
    folder = make_folder(arguments.out)
    with progress_bar("refining", len(raw_rows)) as advance:
        rows = refine(raw_rows, folder, settings, benchmark, choice, advance)
    summary = summarize_rows(rows)
    problems = [row.problem for row in rows if row.problem is not None]
    write_rows(folder / "log.jsonl", (entry for row in rows for entry in row.log_rows()))
    write_rows(folder / "problems.jsonl", (problem.to_row() for problem in problems))
    _write_parquet(folder / "problems.parquet", problems)
    write_json(folder / "summary.json", summary)
    write_text(folder / "README.md", dataset_card(summary, asdict(settings), source.name))
    if can_plot() and problems:
        plot_histograms({title: summary[name] for name, title in PLOTTED.items()}, folder / "plots.png", "rows")
    _show(summary, rows)
    not_run = sum(row.not_run for row in rows)
    if not_run:
        print(f"stepcoder-trl: {not_run} rows could not be run. Run the command again to retry them.", file=sys.stderr)
    return 1 if not_run else 0


def _settings(arguments: argparse.Namespace) -> RefineSettings:
    for name, least in (("runs", 1), ("max_solutions", 1), ("extend_to", 0)):
        if getattr(arguments, name) < least:
            raise BadInputError(f"`{_flag(name)}` is {getattr(arguments, name)}, but must be at least {least}.")
    if not 0 <= arguments.max_overlap <= 1:
        raise BadInputError(f"`--max-overlap` is {arguments.max_overlap}, but is a share: write 0.5 for half.")
    return RefineSettings(**{setting.name: getattr(arguments, setting.name) for setting in fields(RefineSettings)})


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def _check_prompts_are_of_one_kind(rows: Sequence[RawRow]) -> None:
    """Reject text beside messages: a parquet column has one type, and messages as JSON would be loaded as text."""
    problems = [row.problem for row in rows if row.problem is not None]
    texts = [isinstance(problem.prompt, str) for problem in problems]
    if len(set(texts)) > 1:
        first = problems[texts.index(not texts[0])]
        raise BadInputError(
            f"{first.task_id}: its prompt is {'text' if texts[0] is False else 'chat messages'}, unlike those before. "
            "Refine rows of the two kinds separately."
        )


def _write_parquet(path: Path, problems: Sequence[Problem]) -> None:
    import pyarrow
    import pyarrow.parquet

    text = pyarrow.string()
    names = ("task_id", "prompt", "starter_code", "canonical_solution", "tests", "difficulty")
    rows = [problem.to_row() for problem in problems]
    is_chat = any(isinstance(row["prompt"], list) for row in rows)
    messages = pyarrow.list_(pyarrow.struct({"role": text, "content": text}))
    kinds = {**dict.fromkeys(names, text), "prompt": messages if is_chat else text}
    columns = {name: pyarrow.array([row[name] for row in rows], kind) for name, kind in kinds.items()}
    for name in dict.fromkeys(name for problem in problems for name in problem.columns):
        # As text: a column of one's own may hold values of several types, and a column of parquet has one.
        values = [problem.columns.get(name) for problem in problems]
        columns[name] = pyarrow.array(
            [one if one is None or isinstance(one, str) else json_text(one) for one in values]
        )
    table = pyarrow.table(columns)
    with temporary_path(path) as temporary:
        pyarrow.parquet.write_table(table, temporary)


def _show(summary: dict[str, Any], rows: Sequence[RefinedRow]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"{summary['kept']} of {summary['rows']} rows kept")
    for name in ("action", "rule", "rows", "meaning"):
        table.add_column(name, justify="right" if name == "rows" else "left")
    for name, count in summary["rules"].items():
        action, _, rule = name.partition("/")
        table.add_row(action, rule, str(count), RULES[rule])
    Console(width=None if sys.stdout.isatty() else 110).print(table)
