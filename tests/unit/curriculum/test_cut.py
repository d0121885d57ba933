from __future__ import annotations

import json
import math
import os
import sys
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stepcoder_trl.curriculum import Stage, curriculum_stages, curriculum_starts, find_conditionals
from stepcoder_trl.errors import BadInputError
from stepcoder_trl.parsing import line_spans
from stepcoder_trl.types import Conditional
from tests.strategies import programs, source_like_texts
from tests.unit.curriculum.examples import TEN


def lines_by_kind(program: str, kinds: str = "statements") -> list[tuple[str, int, int]]:
    return [(found.kind, found.line, found.end_line) for found in find_conditionals(program, kinds)]  # type: ignore[arg-type]


def test_every_kind_of_statement_and_each_elif_is_found():
    program = (
        "async def f():\n"
        "    if a:\n"
        "        pass\n"
        "    elif b:\n"
        "        pass\n"
        "    else:\n"
        "        if c: pass\n"
        "    for x in y: pass\n"
        "    async for x in y:\n"
        "        while z: pass\n"
        "    try: pass\n"
        "    except E: pass\n"
        "    match m:\n"
        "        case 1: pass\n"
        "    with n: pass\n"
        "    return [i for i in j if i] if k else l\n"
    )

    assert lines_by_kind(program) == [
        ("if", 2, 7),
        ("if", 4, 7),
        ("if", 7, 7),
        ("for", 8, 8),
        ("async for", 9, 10),
        ("while", 10, 10),
        ("try", 11, 12),
        ("match", 13, 14),
    ]


@pytest.mark.skipif(sys.version_info < (3, 11), reason="`except*` came with Python 3.11")
def test_try_with_except_star_counts_as_try():
    assert lines_by_kind("try:\n    a\nexcept* E:\n    b\n") == [("try", 1, 4)]


def test_scope_kinds_equal_those_of_apps_plus():
    program = (
        "@decorator\n"
        "def f(x):\n"
        "    try: a = [i for i in x]\n"
        "    except E: b = {i for i in x}\n"
        "    return {i: i for i in x}, lambda: 1\n"
        "class C:\n"
        "    a = any(i for i in x)\n"
        "async def g():\n"
        "    async for i in x: pass\n"
    )

    assert lines_by_kind(program, "scope") == [
        ("FunctionDef", 2, 5),
        ("Try", 3, 4),
        ("ExceptHandler", 4, 4),
        ("DictComp", 5, 5),
        ("ClassDef", 6, 7),
        ("GeneratorExp", 7, 7),
    ]


def test_outermost_conditional_of_a_line_is_returned():
    assert lines_by_kind("x = [[j for j in i] for i in y]\nwhile any(z for z in w): pass\n", "scope") == [
        ("ListComp", 1, 1),
        ("While", 2, 2),
    ]


def test_conditional_after_byte_order_mark_is_found():
    assert [(found.kind, found.line) for found in find_conditionals("\ufeffif a: pass\n")] == [("if", 1)]


@pytest.mark.parametrize("program", ["", "if a:\n", "if a:\n  b\n c\n", "if a: pass\0"])
def test_invalid_program_has_no_conditionals(program):
    assert find_conditionals(program) == []


def test_lines_are_counted_like_the_tokenizer_does():
    program = "a = '\u2028\x85'\r\n\x0cb = 1\rif b:\n    c\n"

    assert find_conditionals(program) == [Conditional("if", 3, 4)]


def test_unknown_kinds_raise():
    with pytest.raises(BadInputError, match="`kinds` is 'loops'"):
        find_conditionals("", "loops")  # type: ignore[arg-type]


@settings(deadline=None)
@given(programs(), st.sampled_from(["statements", "scope"]))
def test_conditionals_are_sorted_and_on_different_lines(program, kinds):
    lines = [found.line for found in find_conditionals(program, kinds)]

    assert lines == sorted(set(lines))
    assert all(1 <= line <= len(line_spans(program)) for line in lines)


def data_rows(name: str) -> list[dict]:
    folder = os.environ.get("STEPCODER_DATA")
    if folder is None:
        pytest.skip("STEPCODER_DATA does not name the folder of problems")
    return [json.loads(line) for line in Path(folder, name).read_text(encoding="utf-8").splitlines()]


@pytest.mark.parametrize("name", ["apps_plus_train.jsonl", "apps_plus_valid.jsonl"])
def test_conditionals_equal_scope_field_of_every_row(name):
    rows = data_rows(name)

    assert rows
    for row in rows:
        found = {conditional.line for conditional in find_conditionals(row["canonical_solution"], "scope")}
        assert found == {line for _, line, _ in row["scope"]}


@pytest.mark.parametrize("kinds", ["statements", "scope"])
def test_stages_of_real_problems_start_after_header(kinds):
    for row in data_rows("apps_plus_valid.jsonl"):
        solution, starter = row["canonical_solution"], row["starter_code"]
        stages = curriculum_stages(solution, starter, kinds)

        assert stages[-1] == Stage(0, 1, "")
        assert [stage.stage for stage in stages] == sorted({stage.stage for stage in stages}, reverse=True)
        for stage in stages[:-1]:
            assert solution.startswith(stage.prefix)
            if solution.lstrip().startswith(starter.strip()):
                assert stage.prefix.lstrip().startswith(starter.strip())


@pytest.mark.parametrize(
    ("e", "starts"),
    [
        (0, [None]),
        (1, [None]),
        (2, [1, None]),
        (3, [2, None]),
        (4, [2, None]),
        (5, [4, 2, None]),
        (9, [6, 3, None]),
        (10, [9, 6, 3, None]),
        (17, [16, 12, 8, 4, None]),
        (21, [20, 15, 10, 5, None]),
    ],
)
def test_starts_of_known_counts(e, starts):
    assert curriculum_starts(e) == starts


@given(st.integers(1, 10**6))
def test_starts_are_valid_indices_with_stride_of_paper(e):
    starts = curriculum_starts(e)
    stride = math.ceil(e / len(starts))

    assert len(starts) == math.ceil(math.sqrt(e))
    assert starts == [*(stride * stage for stage in range(len(starts) - 1, 0, -1)), None]
    assert all(0 < start < e for start in starts if start is not None)


def test_negative_count_raises():
    with pytest.raises(BadInputError, match="`e` is -1"):
        curriculum_starts(-1)


SOLUTION = (
    "import os\n"
    "\n"
    "\n"
    "def solve(x):\n"
    "    if x:\n"
    "        x += 1\n"
    "    for i in x:\n"
    "        while i:\n"
    "            i -= 1\n"
    "    if i:\n"
    "        pass\n"
    "    return x\n"
)


def test_prefix_ends_before_line_of_conditional():
    assert curriculum_stages(SOLUTION) == [
        Stage(1, 8, "".join(SOLUTION.splitlines(keepends=True)[:7])),
        Stage(0, 1, ""),
    ]


@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
def test_prefix_keeps_line_ends_and_tabs(line_end):
    solution = SOLUTION.replace("    ", "\t").replace("\n", line_end)

    first, scratch = curriculum_stages(solution)

    assert first.prefix == solution[: solution.index("\t\twhile")]
    assert scratch == Stage(0, 1, "")


def stage_numbers(solution: str, starter: str, kinds: str = "statements") -> list[int]:
    return [stage.stage for stage in curriculum_stages(solution, starter, kinds)]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("starter", "stages"),
    [
        ("", [3, 2, 1, 0]),
        ("\n \n", [3, 2, 1, 0]),
        ("def f(x):\n", [3, 2, 1, 0]),
        ("\n\ndef f(x):\n", [3, 2, 1, 0]),
        ("def f(y):", [3, 2, 1, 0]),
        (TEN[: TEN.index("    if x > 3")], [3, 2, 1, 0]),
        (TEN[: TEN.index("if x > 3")], [3, 2, 0]),
        (TEN[: TEN.index("if x > 3") + 2], [3, 2, 0]),
        (TEN[: TEN.index("    if x > 7")] + "\n\n\n", [3, 0]),
        (TEN, [0]),
        ("def g(x):\n", [3, 2, 1, 0]),
    ],
)
def test_starts_inside_starter_code_are_dropped_without_renumbering(starter, stages):
    assert stage_numbers(TEN, starter) == stages
    assert stage_numbers("\n  \n\n" + TEN, starter) == stages


# A helper with six conditionals stands before the function that the starter code names.
HELPED = TEN.replace("def f", "def helper").replace("x > 6", "x and 6") + (
    "class Solution:\n"
    "    def helper(self): return 1\n"
    "    @cache\n"
    "    def solve(\n"
    "        self,\n"
    "        xs=[y for y in z],\n"
    "    ):\n"
    "        if 1: pass\n"
    "        if 2: pass\n"
    "def solve(): return 1\n"
)


@pytest.mark.parametrize(
    "starter",
    [
        "class Solution:\n    def solve(self, xs):\n",
        "class Solution:\n    def solve(self, xs):\n        ",
        "class Solution:\n    def solve(self,\n        xs):",
        "class Solution:\n    def solve(self, xs):\n        '''def helper(x):'''",
        "class Solution:\n    def solve(self, xs): # fill in",
        "class Solution:\n    def solve(self, xs)",
        "\tdef solve(self, xs):",
    ],
)
def test_different_starter_code_ends_with_last_header(starter):
    # Twelve conditionals, stride 3: the stages start at conditionals 9, 6 and 3, all in the helper.
    assert stage_numbers(HELPED, "") == [3, 2, 1, 0]
    assert stage_numbers(HELPED, starter) == [0]


def test_conditional_in_long_header_is_inside_starter_code():
    solution = "def f(\n    a=[x for x in y],\n    b=[x for x in y],\n):\n    if a: pass\n"

    assert stage_numbers(solution, "def f(a, b):", "scope") == [0]
    assert [stage.line for stage in curriculum_stages(solution, "", "scope")] == [3, 1]


def test_line_after_header_is_not_inside_starter_code():
    solution = "if 0: pass\ndef f(x):\n    if 1: pass\n"

    assert [stage.line for stage in curriculum_stages(solution, "def f(y):")] == [3, 1]


def test_stage_of_decorated_definition_starts_at_its_def():
    solution = "import functools\n@functools.cache\ndef f(): pass\n@functools.cache\ndef g(): pass\n"

    assert curriculum_stages(solution, kinds="scope")[0] == Stage(1, 5, solution[: solution.index("def g")])


@pytest.mark.parametrize("solution", ["", "if a:\n"])
def test_invalid_solution_has_only_scratch(solution):
    assert curriculum_stages(solution, "def f():") == [Stage(0, 1, "")]


@settings(deadline=None)
@given(programs(), source_like_texts() | programs(max_depth=1), st.sampled_from(["statements", "scope"]))
def test_stages_start_at_conditionals_from_last_to_first(program, starter, kinds):
    stages = curriculum_stages(program, starter, kinds)
    everything = curriculum_stages(program, "", kinds)
    lines = {found.line for found in find_conditionals(program, kinds)}

    assert set(stages) <= set(everything)
    assert stages[-1] == Stage(0, 1, "")
    assert all(stage.line in lines and program.startswith(stage.prefix) for stage in stages[:-1])
    assert all(len(line_spans(stage.prefix)) == stage.line - 1 for stage in stages)
    assert all(later.line < earlier.line for earlier, later in pairwise(stages))
