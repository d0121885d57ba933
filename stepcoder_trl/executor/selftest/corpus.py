"""
Programs that an executor must survive, and programs that it must not fail: one per file under `programs/`.

A file begins with comments that say how it is run:

    # tests: {"type": "call", ...}      the tests, as JSON
    # expect: failed|runtime_error      outcomes that are right for it
    # timeout_s: 1                      optional: CPU seconds for one test
    # note: why it is here              optional
    # source: "text\\u0000"              optional: the program as JSON text, for what is not valid text in a file
    # source_expression: '(' * 5000     optional: the program as an expression, for what is too long for a file
    # outputs_expression: ["x" * 10]    optional: the expected outputs of stdio tests, likewise

Without `source` and `source_expression` the program is the file itself, comments included. Expected outputs of hostile
programs cannot be guessed from the program, so that none of them passes unless it found them. What a program tries to
leave in a folder that others share has a name that begins with `planted`: the suite looks for it. The files end in
`.txt` because they are data: nothing collects, checks, compiles or imports them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any


PROGRAMS = Path(__file__).parent / "programs"


@dataclass(frozen=True)
class Case:
    """
    One program of the corpus.

    Attributes:
        kind (`str`): `"hostile"` or `"correct"`.
        name (`str`): File name without its ending.
        program (`str`): Source text, which need not be valid Python, nor encodable.
        tests (`dict`): Tests object, as the executor takes it.
        expected (`frozenset[str]`): Outcomes that are right.
        note (`str`): Why it is in the corpus.
    """

    kind: str
    name: str
    program: str
    tests: dict[str, Any]
    expected: frozenset[str]
    note: str


def load(kind: str, folder: Path = PROGRAMS) -> list[Case]:
    """
    Read one half of the corpus.

    Args:
        kind (`str`): `"hostile"` or `"correct"`.
        folder (`Path`, *optional*): Where the two folders are.

    Returns:
        `list[Case]`: Sorted by name.
    """
    return [_case(path) for path in sorted((folder / kind).glob("*.txt"))]


def _case(path: Path) -> Case:
    text = path.read_bytes().decode("utf-8")
    header = dict(_header(text))
    tests = json.loads(header["tests"])
    if "timeout_s" in header:
        tests["timeout_s"] = float(header["timeout_s"])
    if "outputs_expression" in header:
        tests["outputs"] = _value_of(header["outputs_expression"])
    program = text
    if "source" in header:
        program = json.loads(header["source"])
    elif "source_expression" in header:
        program = _value_of(header["source_expression"])
    return Case(
        path.parent.name, path.stem, program, tests, frozenset(header["expect"].split("|")), header.get("note", "")
    )


def _header(text: str) -> Iterator[tuple[str, str]]:
    for line in text.split("\n"):
        if not line.startswith("# "):
            return
        key, _, value = line[2:].partition(": ")
        yield key, value


def _value_of(expression: str) -> Any:
    """Value of an expression of this corpus: our own files, not input."""
    return eval(expression, {})
