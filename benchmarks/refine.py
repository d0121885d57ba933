"""
Precision and recall of the rules of `stepcoder-trl refine` on public rows.

    python benchmarks/refine.py DATA --json refine.json

DATA is a folder with `codecontests.jsonl`, `apps_sample.jsonl`, `apps_plus_valid.jsonl` and `leetcode_*` files. The
rules run on two sets of rows:

- *Planted*: sound rows with a planted defect of each kind.
- *As they are*: the rows themselves. `KNOWN` lists their defects, found by hand: solutions that fail, answers that
  differ in digits or white space, duplicates, code that `coverage` never sees run, and statements that allow several
  answers.

A dropped or repaired row counts for the first rule that decided so, and for every rule that noted something. The
benchmark takes about ten CPU minutes.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import tempfile
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from stepcoder_trl.data.formats import RawRow, read_raw_rows
from stepcoder_trl.data.problems import Problem
from stepcoder_trl.data.refine_rules import words_of_several_answers
from stepcoder_trl.data.refine_run import KEEP, RefinedRow, RefineSettings, refine


FILES = (
    *("codecontests.jsonl", "apps_sample.jsonl", "apps_test_no_solutions.jsonl", "apps_plus_valid.jsonl"),
    *("leetcode_v0.2.0_test.jsonl", "leetcode_v0.2.0_train.jsonl.gz"),
)
SEED = 0  # for choosing rows and defects
PER_KIND = 12  # rows per kind of defect
EXPENSIVE = {"too_slow": 2}  # rows per kind of defect that takes long
TIMEOUT_S = 5.0  # per test of a planted row
MAX_TESTS = 3  # per planted row

# Numbers of the rows with each defect. The other rows of these files have none.
KNOWN: dict[str, dict[str, Sequence[int]]] = {
    "codecontests.jsonl": {
        "runtime_error": (3, 46, 90),
        "too_slow": (119, 131),
        "duplicate": (6, 25, 34, 48, 51, 85, 124, 128),
        "several_answers": (
            *(1, 15, 28, 38, 39, 66, 69, 83, 86, 97, 107, 113, 134, 141, 142),  # the solution gives another answer
            *(5, 20, 24, 61, 101, 103, 104, 105, 137, 6, 25),  # it gives the expected one
        ),
        "letter_case": (44, 108),
        "float_format": (2, 13, 64, 68, 93, 94, 95, 96, 98, 138),
        "white_space": (105,),
        "irrelevant_code": (30, 116),
    },
    "apps_sample.jsonl": {"bad_solutions": (2,), "several_answers": (2,)},
    "apps_test_no_solutions.jsonl": {"no_solution": (1, 2, 3, 4, 5)},
}


# Defects. Each function plants one in a row, or returns `None` if the row cannot have it.


def in_program(*beginnings: str) -> Callable[[RawRow, random.Random], RawRow | None]:
    """Return a function that puts failing code before the solution."""

    def plant(row: RawRow, rng: random.Random) -> RawRow | None:
        return replace(row, solutions=(rng.choice(beginnings) + row.solutions[0],))

    return plant


def without_colon(row: RawRow, rng: random.Random) -> RawRow | None:
    lines = row.solutions[0].split("\n")
    headers = [number for number, line in enumerate(lines) if re.match(r"\s*(if|for|while|def)\b.*:$", line)]
    if not headers:
        return None
    chosen = rng.choice(headers)
    lines[chosen] = lines[chosen][:-1]
    return replace(row, solutions=("\n".join(lines),))


def at_the_end(*endings: str) -> Callable[[RawRow, random.Random], RawRow | None]:
    """Return a function that makes the solution print more."""

    def plant(row: RawRow, rng: random.Random) -> RawRow | None:
        return replace(row, solutions=(row.solutions[0] + rng.choice(endings),)) if prints(row) else None

    return plant


def prints(row: RawRow) -> bool:
    """Whether text that a program prints at its end belongs to its output."""
    tests = tests_of(row)
    return tests["type"] == "stdio" and tests.get("fn_name") is None and "exit" not in row.solutions[0]


def tests_of(row: RawRow) -> dict[str, Any]:
    assert row.problem is not None
    return row.problem.tests


def with_tests(row: RawRow, **changes: Any) -> RawRow:
    assert row.problem is not None
    return replace(row, problem=replace(row.problem, tests={**tests_of(row), **changes}))


def in_output(change: Callable[[str, random.Random], str]) -> Callable[[RawRow, random.Random], RawRow | None]:
    """Return a function that changes one expected output."""

    def plant(row: RawRow, rng: random.Random) -> RawRow | None:
        if tests_of(row)["type"] != "stdio":
            return None
        outputs = list(tests_of(row)["outputs"])
        place = rng.randrange(len(outputs))
        changed = change(outputs[place], rng)
        if changed.strip() == outputs[place].strip():
            return None
        outputs[place] = changed
        return with_tests(row, outputs=outputs)

    return plant


def other_digit(text: str, rng: random.Random) -> str:
    digits = [found.start() for found in re.finditer(r"\d", text)]
    if not digits:
        return text
    place = rng.choice(digits)
    return text[:place] + str((int(text[place]) + 1) % 10) + text[place + 1 :]


def other_order(text: str, rng: random.Random) -> str:
    words = text.split()
    rng.shuffle(words)
    return text if words == text.split() else " ".join(words)


def other_space(text: str, rng: random.Random) -> str:
    return re.sub(r"(?<=\S)\s(?=\S)", lambda found: "\n" if found[0] == " " else " ", text)


def other_format(text: str, rng: random.Random) -> str:
    return re.sub(r"(?<=\d\.)(\d+)", r"\g<1>00", text) if "." in text else re.sub(r"\d+", r"\g<0>.0", text, count=1)


def twice(row: RawRow | None) -> RawRow | None:
    return None if row is None else replace(row, solutions=(*row.solutions, row.solutions[0] + "\npass\n"))


def corrected(row: RawRow, rng: random.Random) -> RawRow | None:
    return twice(in_output(other_digit)(row, rng))


PHRASES = (
    *("If there are several answers, print any of them.", "Any valid answer will be accepted."),
    *("You may print the numbers in any order.", "If multiple solutions exist, output any."),
    "Find any such sequence.",
)


def several(row: RawRow, rng: random.Random) -> RawRow | None:
    other = at_the_end("\nprint(-1)\n", "\nprint('x')\n")(row, rng)
    if other is None or row.problem is None:
        return None
    problem = replace(row.problem, prompt=f"{row.problem.prompt}\n\n{rng.choice(PHRASES)}")
    return replace(row, problem=problem, solutions=(*row.solutions, *other.solutions))


def disagreement(row: RawRow, rng: random.Random) -> RawRow | None:
    others = [at_the_end(f"\nprint({number})\n")(row, rng) for number in range(2)]
    return None if None in others else replace(row, solutions=tuple(one.solutions[0] for one in others if one))


def hard_coded(row: RawRow, rng: random.Random) -> RawRow | None:
    tests = tests_of(row)
    if not (prints(row) and tests["inputs"][0].strip()):
        return None
    cut = with_tests(row, inputs=tests["inputs"][:1], outputs=tests["outputs"][:1])
    return replace(cut, solutions=(f"print({tests['outputs'][0].rstrip()!r})\n",))


def never_called(row: RawRow, rng: random.Random) -> RawRow | None:
    lines = row.solutions[0].count("\n") + 1
    body = "".join(f"    x{number} = {number}\n" for number in range(lines))
    return replace(row, solutions=(f"{row.solutions[0]}\n\ndef never_called():\n{body}",))


def one_more(row: RawRow, rng: random.Random) -> RawRow | None:
    broken = rng.choice(["raise ValueError\n", "import nothing_of_that_name\n", "print(\n"]) + row.solutions[0]
    return replace(row, solutions=(*row.solutions, broken))


CRASHES = ("{}[0]\n", "[][0]\n", "1 / 0\n", "undefined_name\n", "int('x')\n", "raise SystemError\n")
OLD_CALLS = (
    *("import time\ntime.clock()\n", "from fractions import gcd\n", "from collections import Mapping\n"),
    *("import string\nstring.maketrans('a', 'b')\n", "import itertools\nitertools.izip([1], [2])\n"),
)
UNSTEADY = (
    *("\nimport random\nprint(random.random())\n", "\nprint(*{str(n) for n in range(30)})\n"),
    *("\nprint(id(object()))\n", "\nimport time\nprint(time.time())\n"),
)
DEFECTS: dict[str, Callable[[RawRow, random.Random], RawRow | None]] = {
    "no_solution": lambda row, rng: replace(row, solutions=()),
    "does_not_compile": without_colon,
    "missing_library": in_program(
        "import gmpy3\n", "from sortedcontainerz import SortedList\n", "import numpyy as np\n"
    ),
    "api_misuse": in_program(*OLD_CALLS),
    "nondeterministic": at_the_end(*UNSTEADY),
    "runtime_error": in_program(*CRASHES),
    "too_slow": in_program("while True:\n    pass\n"),
    "too_much_memory": in_program("x = bytearray(2**40)\n", "x = [0] * 10**10\n"),
    "wrong_output": in_output(other_digit),
    "corrected_output": corrected,
    "order": in_output(other_order),
    "letter_case": in_output(lambda text, rng: text.swapcase()),
    "white_space": in_output(other_space),
    "float_format": in_output(other_format),
    "several_answers": several,
    "solutions_disagree": disagreement,
    "hard_coded": hard_coded,
    "irrelevant_code": never_called,
    "bad_solutions": one_more,
    KEEP: lambda row, rng: row,
}


def plant(rows: Sequence[RawRow]) -> tuple[list[RawRow], list[str], list[Problem]]:
    """Return rows with defects, the rule that should find each, and a benchmark that contains some of them."""
    rng = random.Random(SEED)
    long = [row for row in rows if len(row.solutions[0].splitlines()) > 8]
    leaked = rng.sample(long, PER_KIND)
    rows = [row for row in rows if row not in leaked]
    planted: list[RawRow] = []
    wanted: list[str] = []
    for rule, defect in DEFECTS.items():
        count = 5 * PER_KIND if rule == KEEP else EXPENSIVE.get(rule, PER_KIND)
        for row in rng.sample(rows, len(rows)):
            changed = defect(row, rng) if count else None
            if changed is not None:
                planted.append(named(changed, f"{rule} {count}"))
                wanted.append(rule)
                count -= 1
    for row, _ in zip(rng.sample(rows, len(rows)), range(PER_KIND), strict=False):
        first = named(row, f"first of two {len(planted)}")
        assert first.problem is not None
        again = replace(first.problem, prompt=str(first.problem.prompt).upper().replace(".", " !"))
        planted += [first, replace(first, problem=replace(again, task_id=first.task_id + " again"))]
        wanted += [KEEP, "duplicate"]
    leaked = [named(row, f"contaminated {number}") for number, row in enumerate(leaked)]
    benchmark = [
        replace(row.problem, canonical_solution=row.solutions[0]) for row in leaked if row.problem is not None
    ]
    return [*planted, *leaked], [*wanted, *["contaminated"] * len(leaked)], benchmark


def named(row: RawRow, name: str) -> RawRow:
    """Return a row with a new name, also in its statement, so that copies of one row are not duplicates."""
    assert row.problem is not None
    problem = replace(row.problem, task_id=name, prompt=f"{row.problem.prompt}\n\nRow {name}.")
    return replace(row, task_id=name, problem=problem, values={"planted": name})


def sound(raw: Iterable[RawRow], refined: Iterable[RefinedRow]) -> list[RawRow]:
    """Return rows without a finding as raw rows, with their best solution and few tests."""
    found = []
    for before, after in zip(raw, refined, strict=True):
        if after.problem is None or after.findings or words_of_several_answers(str(after.problem.prompt)):
            continue
        row = replace(before, problem=after.problem, solutions=(after.problem.canonical_solution,))
        if tests_of(row)["type"] != "assert":
            row = with_tests(row, **{name: tests_of(row)[name][:MAX_TESTS] for name in ("inputs", "outputs")})
        found.append(row)
    return found


def decided(row: RefinedRow) -> set[str]:
    """Return the rules that count for a row: the first that acted and all that noted something."""
    acting = [finding.rule for finding in row.findings if finding.action != "note"]
    notes = {finding.rule for finding in row.findings if finding.action == "note"}
    return {*acting[:1], *notes} or {KEEP}


def score(rows: Sequence[RefinedRow], wanted: Sequence[set[str]]) -> dict[str, Any]:
    """Return the counts for precision and recall of each rule, and the rows it got wrong."""
    said, planted, right = Counter[str](), Counter[str](), Counter[str]()
    mistaken: dict[str, list[str]] = defaultdict(list)
    for row, expected in zip(rows, wanted, strict=True):
        found = decided(row)
        said.update(found)
        planted.update(expected)
        right.update(found & expected)
        if found != expected:
            mistaken[f"{'+'.join(sorted(expected))} -> {'+'.join(sorted(found))}"].append(row.task_id)
    rules = {
        rule: {"planted": planted[rule], "found": said[rule], "right": right[rule]}
        for rule in sorted({*said, *planted})
    }
    return {"rows": len(rows), "rules": rules, "mistaken": dict(sorted(mistaken.items()))}


def known(name: str, number: int) -> set[str] | None:
    """Return the known defects of a row, or `None` if its file is not in `KNOWN`."""
    if name not in KNOWN:
        return None
    return {rule for rule, numbers in KNOWN[name].items() if number in numbers} or {KEEP}


def main() -> None:
    """Measure, print and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, metavar="DATA", help="folder with the data sets")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures to this file")
    arguments = parser.parse_args()
    figures: dict[str, Any] = {"seed": SEED, "as_they_are": {}}
    pool: list[RawRow] = []
    with tempfile.TemporaryDirectory() as folder:
        for name in FILES:
            raw = read_raw_rows(arguments.data / name)
            rows = refine(raw, Path(folder, name), RefineSettings())
            # Without known defects the findings count as right, and only their number is reported.
            wanted = [known(name, row.number) or decided(row) for row in rows]
            figures["as_they_are"][name] = show(name, score(rows, wanted), name in KNOWN)
            if not name.endswith(".gz"):
                pool += sound(raw, rows)
        planted, rules, benchmark = plant(pool)
        numbered = [replace(row, number=number) for number, row in enumerate(planted, 1)]
        settings = RefineSettings(timeout_s=TIMEOUT_S)
        rows = refine(numbered, Path(folder, "planted"), settings, benchmark)
        figures["planted"] = show("planted", score(rows, [{rule} for rule in rules]), True)
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=2) + "\n")


def show(name: str, figures: dict[str, Any], is_known: bool) -> dict[str, Any]:
    """Print the figures of one file and return them. Without known defects keep only the number of findings."""
    print(f"\n{name}: {figures['rows']} rows")
    for rule, counts in figures["rules"].items():
        right, found, there = counts["right"], counts["found"], counts["planted"]
        print(
            f"  {rule:20} " + (f"precision {right}/{found}, recall {right}/{there}" if is_known else f"{found} rows")
        )
    for mistake, names in figures["mistaken"].items():
        print(f"  {mistake}: {', '.join(names[:5])}")
    if is_known:
        return figures
    return {"rows": figures["rows"], "found": {rule: counts["found"] for rule, counts in figures["rules"].items()}}


if __name__ == "__main__":
    main()
