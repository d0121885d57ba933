"""
Load the corpus of hostile and correct programs. `programs/` has one file per program.

A file begins with comments that describe the test:

    # tests: {"type": "call", ...}      tests, as JSON
    # expect: failed|runtime_error      allowed outcomes
    # timeout_s: 1                      optional: CPU seconds per test
    # note: why it is here              optional
    # source: "text\\u0000"              optional: program as JSON text, if a file cannot hold it
    # source_expression: '(' * 5000     optional: program as a Python expression, if it is too long for a file
    # outputs_expression: ["x" * 10]    optional: expected outputs of stdio tests, as a Python expression

Without `source` and `source_expression`, the program is the whole file, comments included. A hostile program cannot
compute its expected outputs, so it passes only if it steals them. Names of files that a program tries to leave in
shared folders begin with `planted`, so that the suite finds them. The programs are `.txt` files, so that no tool
collects, checks, compiles or imports them.
"""

from __future__ import annotations

import itertools
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any


PROGRAMS = Path(__file__).parent / "programs"


@dataclass(frozen=True)
class Case:
    """One program of the corpus."""

    kind: str  # "hostile" or "correct"
    name: str  # of its file, without suffix
    program: str  # may be invalid Python, or text that UTF-8 cannot encode
    tests: dict[str, Any]
    expected: frozenset[str]  # allowed outcomes
    note: str  # why the program is in the corpus


def load(kind: str, folder: Path = PROGRAMS) -> list[Case]:
    """Load all `"hostile"` or all `"correct"` programs, sorted by name, from a folder that holds both folders."""
    return [_case(path) for path in sorted((folder / kind).glob("*.txt"))]


def _case(path: Path) -> Case:
    text = path.read_bytes().decode("utf-8")
    lines = itertools.takewhile(lambda line: line.startswith("# "), text.split("\n"))
    header = {key: value for key, _, value in (line[2:].partition(": ") for line in lines)}
    tests, program = json.loads(header["tests"]), text
    if "timeout_s" in header:
        tests["timeout_s"] = float(header["timeout_s"])
    # The corpus is part of this package, so its expressions are trusted.
    if "outputs_expression" in header:
        tests["outputs"] = eval(header["outputs_expression"], {})
    if "source" in header:
        program = json.loads(header["source"])
    elif "source_expression" in header:
        program = eval(header["source_expression"], {})
    expected = frozenset(header["expect"].split("|"))
    return Case(path.parent.name, path.stem, program, tests, expected, header.get("note", ""))
