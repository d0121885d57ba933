"""
Load the corpus of hostile and correct programs. `programs/` has one file per program.

A file begins with comments that describe the test:

    # tests: {"type": "call", ...}      tests, as JSON
    # expect: failed|runtime_error      allowed outcomes
    # timeout_s: 1                      optional: CPU seconds per test
    # note: why it is here              optional
    # source: "text\\u0000"              optional: program as JSON text, if a file cannot hold it
    # source_expression: '(' * 5000     optional: program as a Python expression, if it is too long for a file
    # tests_expression: {"type": ...}   optional: tests as a Python expression, instead of `tests`
    # outputs_expression: ["x" * 10]    optional: expected outputs of stdio tests, as a Python expression
    # snippet: harness                  optional: text of `snippets/`, put between these comments and the program
    # first: table_of_answers           optional: programs of `companions/` that run before it on the same worker
    # then: reads_the_loot              optional: programs of `companions/` that run after it on the same worker
    # config: {"option": true}          optional: settings of the executor
    # growth_mib: {"disk": 600}         optional: the most by which a measure of `growth.py` may grow meanwhile
    # rate: [100, 0.63]                 optional: number of runs, and the highest share of them that may pass
    # untrusted: true                   optional: the result must say that it is not trusted
    # message_not: was changed          optional: text that no message of a test may hold

A line of the program that ends with `# ran` must be among the executed lines, and one that ends with `# not run` must
not, unless the execution says that its trace was lost.

Without `source` and `source_expression`, the program is the whole file, comments included, except for what the lines
`tests` and `outputs_expression` say. A hostile program cannot compute its expected outputs, nor find them in its own
text, so it passes only if it steals them. Two kinds may pass: those that only lie about their lines, and those whose
result is `untrusted`. Names of files that a program tries to leave in shared folders begin with `planted`, so that the
suite finds them. The programs are `.txt` files, so that no tool collects, checks, compiles or imports them.
"""

from __future__ import annotations

import itertools
import json
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


PROGRAMS = Path(__file__).parent / "programs"
ARCHIVE = PROGRAMS.with_suffix(".zip")  # setup.py makes it, and a wheel has it in the place of the folder
Folder = Path | zipfile.Path


@dataclass(frozen=True)
class Requirements:
    """What must hold for a program beside its outcome."""

    first: tuple[Case, ...] = ()  # run before it on the same worker
    then: tuple[Case, ...] = ()  # run after it on the same worker
    config: dict[str, Any] = field(default_factory=dict)  # settings of the executor
    growth_mib: dict[str, float] = field(default_factory=dict)  # by name of the measure
    runs: int = 1
    highest_rate: float = 0.0  # share of the runs that may pass, if there are several
    message_not: str = ""
    untrusted: bool = False  # whether the result must not be trusted
    ran: frozenset[int] = frozenset()  # lines that must be among the executed ones, unless the trace was lost
    not_run: frozenset[int] = frozenset()  # lines that must not

    @property
    def needs_own_worker(self) -> bool:
        """Return whether the program needs a new worker that runs nothing else."""
        return bool(self.first or self.then or self.config or self.growth_mib or self.runs > 1)


@dataclass(frozen=True)
class Case:
    """One program of the corpus."""

    kind: str  # "hostile" or "correct"; "companions" for those that run beside another one
    name: str  # of its file, without suffix
    program: str  # may be invalid Python, or text that UTF-8 cannot encode
    tests: dict[str, Any]
    expected: frozenset[str]  # allowed outcomes
    note: str  # why the program is in the corpus
    requirements: Requirements = Requirements()


def load(kind: str, programs: Path | None = None) -> list[Case]:
    """
    Load all `"hostile"` or all `"correct"` programs, sorted by name.

    `programs` is a folder or a zip archive that holds both folders. The default are those of this package.
    """
    programs = programs or (PROGRAMS if PROGRAMS.exists() else ARCHIVE)
    if programs.is_dir():
        return _cases(programs, kind)
    with zipfile.ZipFile(programs) as archive:
        return _cases(zipfile.Path(archive), kind)


def _cases(folder: Folder, kind: str) -> list[Case]:
    names = [path.name for path in (folder / kind).iterdir()]
    return [_case(folder, kind, name.removesuffix(".txt")) for name in sorted(names) if name.endswith(".txt")]


def _case(folder: Folder, kind: str, name: str) -> Case:
    text = (folder / kind / f"{name}.txt").read_bytes().decode("utf-8")
    lines = itertools.takewhile(lambda line: line.startswith("# "), text.split("\n"))
    header = {key: value for key, _, value in (line[2:].partition(": ") for line in lines)}
    program = _program(header, text, folder)
    return Case(
        kind=kind,
        name=name,
        program=program,
        tests=_tests(header),
        expected=frozenset(header["expect"].split("|")),
        note=header.get("note", ""),
        requirements=_requirements(header, program, folder),
    )


# The corpus is part of this package, so its expressions are trusted.


def _program(header: dict[str, str], text: str, folder: Folder) -> str:
    if "source" in header:
        return str(json.loads(header["source"]))
    if "source_expression" in header:
        return str(eval(header["source_expression"], {}))
    for key in ("tests", "tests_expression", "outputs_expression"):
        text = text.replace(f"# {key}: {header[key]}\n", f"# {key}\n", 1) if key in header else text
    if "snippet" in header:
        snippet = (folder / "snippets" / f"{header['snippet']}.txt").read_text(encoding="utf-8")
        comments, gap, rest = text.partition("\n\n")
        return comments + gap + snippet + gap + rest
    return text


def _tests(header: dict[str, str]) -> dict[str, Any]:
    tests: dict[str, Any]
    if "tests_expression" in header:
        tests = eval(header["tests_expression"], {})
    else:
        tests = json.loads(header["tests"])
    if "timeout_s" in header:
        tests["timeout_s"] = float(header["timeout_s"])
    if "outputs_expression" in header:
        tests["outputs"] = eval(header["outputs_expression"], {})
    return tests


def _requirements(header: dict[str, str], program: str, folder: Folder) -> Requirements:
    def companions(key: str) -> tuple[Case, ...]:
        return tuple(_case(folder, "companions", name) for name in header.get(key, "").split())

    runs, highest_rate = json.loads(header.get("rate", "[1, 0]"))
    return Requirements(
        first=companions("first"),
        then=companions("then"),
        config=json.loads(header.get("config", "{}")),
        growth_mib=json.loads(header.get("growth_mib", "{}")),
        runs=runs,
        highest_rate=highest_rate,
        message_not=header.get("message_not", ""),
        untrusted=json.loads(header.get("untrusted", "false")),
        ran=_lines_with(program, "# ran"),
        not_run=_lines_with(program, "# not run"),
    )


def _lines_with(program: str, mark: str) -> frozenset[int]:
    """Return the numbers of the lines that end with a mark."""
    lines = enumerate(program.split("\n"), start=1)
    return frozenset(number for number, line in lines if line.endswith(mark) and not line.startswith("#"))
