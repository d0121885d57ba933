"""Reads the package's own rows."""

from __future__ import annotations

from stepcoder_trl.data.formats.common import Format
from stepcoder_trl.data.problems import Problem
from stepcoder_trl.jsonl import Row


def _load(row: Row) -> Problem:
    return Problem.from_row(row.fields, row.where)


OWN = Format(
    "stepcoder",
    "stepcoder-trl's own",
    ("tests",),
    _load,
    licence="yours",
    reads="as given, see [Your own rows](#your-own-rows)",
    is_published=False,
)
