from __future__ import annotations

import dataclasses
import json
import math
import os
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stepcoder_trl.curriculum import (
    Curriculum,
    CurriculumConfig,
    Stage,
    curriculum_stages,
    curriculum_starts,
    find_conditionals,
)
from stepcoder_trl.errors import BadInputError
from stepcoder_trl.parsing import line_spans, parse
from stepcoder_trl.types import Conditional
from tests.strategies import programs, source_like_texts


# Conditionals


def lines_by_kind(program: str, kinds: str = "statements") -> list[tuple[str, int, int]]:
    return [(found.kind, found.line, found.end_line) for found in find_conditionals(program, kinds)]  # type: ignore[arg-type]


def test_every_kind_of_statement_is_found_and_every_elif_is_its_own():
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
def test_try_with_except_star_is_a_try():
    assert lines_by_kind("try:\n    a\nexcept* E:\n    b\n") == [("try", 1, 4)]


def test_scope_kinds_are_those_of_apps_plus():
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


def test_two_on_one_line_count_once_and_the_outermost_is_named():
    assert lines_by_kind("x = [[j for j in i] for i in y]\nwhile any(z for z in w): pass\n", "scope") == [
        ("ListComp", 1, 1),
        ("While", 2, 2),
    ]


def test_a_byte_order_mark_hides_nothing():
    assert [(found.kind, found.line) for found in find_conditionals("\ufeffif a: pass\n")] == [("if", 1)]


@pytest.mark.parametrize("program", ["", "if a:\n", "if a:\n  b\n c\n", "if a: pass\0"])
def test_text_without_conditionals_or_that_does_not_parse_has_none(program):
    assert find_conditionals(program) == []


def test_lines_are_counted_as_the_tokenizer_counts_them():
    program = "a = '\u2028\x85'\r\n\x0cb = 1\rif b:\n    c\n"

    assert find_conditionals(program) == [Conditional("if", 3, 4)]


def test_unknown_kinds_are_refused():
    with pytest.raises(BadInputError, match="`kinds` is 'loops'"):
        find_conditionals("", "loops")  # type: ignore[arg-type]


@settings(deadline=None)
@given(programs(), st.sampled_from(["statements", "scope"]))
def test_conditionals_are_sorted_and_on_lines_of_their_own(program, kinds):
    lines = [found.line for found in find_conditionals(program, kinds)]

    assert lines == sorted(set(lines))
    assert all(1 <= line <= len(line_spans(program)) for line in lines)


def data_rows(name: str) -> list[dict]:
    folder = os.environ.get("STEPCODER_DATA")
    if folder is None:
        pytest.skip("STEPCODER_DATA does not name the folder of problems")
    return [json.loads(line) for line in Path(folder, name).read_text(encoding="utf-8").splitlines()]


@pytest.mark.parametrize("name", ["apps_plus_train.jsonl", "apps_plus_valid.jsonl"])
def test_scope_field_of_every_row_is_reproduced(name):
    rows = data_rows(name)

    assert rows
    for row in rows:
        found = {conditional.line for conditional in find_conditionals(row["canonical_solution"], "scope")}
        assert found == {line for _, line, _ in row["scope"]}


@pytest.mark.parametrize("kinds", ["statements", "scope"])
def test_stages_of_real_problems_lie_behind_their_headers(kinds):
    for row in data_rows("apps_plus_valid.jsonl"):
        solution, starter = row["canonical_solution"], row["starter_code"]
        stages = curriculum_stages(solution, starter, kinds)

        assert stages[-1] == Stage(0, 1, "")
        assert [stage.stage for stage in stages] == sorted({stage.stage for stage in stages}, reverse=True)
        for stage in stages[:-1]:
            assert solution.startswith(stage.prefix)
            if solution.lstrip().startswith(starter.strip()):
                assert stage.prefix.lstrip().startswith(starter.strip())


# Stages


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
def test_starts_are_valid_indices_with_the_stride_of_the_paper(e):
    starts = curriculum_starts(e)
    stride = math.ceil(e / len(starts))

    assert len(starts) == math.ceil(math.sqrt(e))
    assert starts == [*(stride * stage for stage in range(len(starts) - 1, 0, -1)), None]
    assert all(0 < start < e for start in starts if start is not None)


def test_negative_count_is_refused():
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


def test_prefix_ends_before_the_line_of_the_conditional():
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


TEN = "def f(x):\n" + "".join(f"    if x > {n}:\n        x -= {n}\n" for n in range(10))


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
def test_starts_inside_the_starter_code_are_dropped_and_numbers_stay(starter, stages):
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
def test_starter_code_that_differs_reaches_to_the_header_it_names_last(starter):
    # Twelve conditionals, stride 3: the stages start at conditionals 9, 6 and 3, all in the helper.
    assert stage_numbers(HELPED, "") == [3, 2, 1, 0]
    assert stage_numbers(HELPED, starter) == [0]


def test_conditional_in_a_header_of_several_lines_is_inside_it():
    solution = "def f(\n    a=[x for x in y],\n    b=[x for x in y],\n):\n    if a: pass\n"

    assert stage_numbers(solution, "def f(a, b):", "scope") == [0]
    assert [stage.line for stage in curriculum_stages(solution, "", "scope")] == [3, 1]


def test_line_behind_the_header_is_not_inside():
    solution = "if 0: pass\ndef f(x):\n    if 1: pass\n"

    assert [stage.line for stage in curriculum_stages(solution, "def f(y):")] == [3, 1]


def test_decorated_definition_is_cut_after_its_decorators():
    solution = "import functools\n@functools.cache\ndef f(): pass\n@functools.cache\ndef g(): pass\n"

    assert curriculum_stages(solution, kinds="scope")[0] == Stage(1, 5, solution[: solution.index("def g")])


@pytest.mark.parametrize("solution", ["", "if a:\n"])
def test_solution_that_does_not_parse_is_written_from_scratch(solution):
    assert curriculum_stages(solution, "def f():") == [Stage(0, 1, "")]


@settings(deadline=None)
@given(programs(), source_like_texts() | programs(max_depth=1), st.sampled_from(["statements", "scope"]))
def test_stages_start_at_conditionals_behind_each_other(program, starter, kinds):
    stages = curriculum_stages(program, starter, kinds)
    everything = curriculum_stages(program, "", kinds)
    lines = {found.line for found in find_conditionals(program, kinds)}

    assert set(stages) <= set(everything)
    assert stages[-1] == Stage(0, 1, "")
    assert all(stage.line in lines and program.startswith(stage.prefix) for stage in stages[:-1])
    assert all(len(line_spans(stage.prefix)) == stage.line - 1 for stage in stages)
    assert all(later.line < earlier.line for earlier, later in pairwise(stages))


# Configuration


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"mode": "fast"}, "`mode` is 'fast', but must be one of paper, mix, adaptive, off"),
        ({"kinds": "if"}, "`kinds` is 'if'"),
        ({"rate_of": "all"}, "`rate_of` is 'all'"),
        ({"pass_rate": 50}, "`pass_rate` is 50, but must be in .*write 0.5 for 50%"),
        ({"momentum": 0.0}, "`momentum` is 0.0"),
        ({"mix_probability": -0.1}, "`mix_probability` is -0.1"),
        ({"pass_rate": math.nan}, "`pass_rate` is nan"),
    ],
)
def test_configuration_refuses_what_makes_no_sense(changes, message):
    with pytest.raises(BadInputError, match=message):
        CurriculumConfig(**changes)


def test_configuration_is_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        CurriculumConfig().seed = 1  # type: ignore[misc]


# State


PROBLEMS = {"ten": (TEN, "def f(x):"), "none": ("x = 1\n", ""), "empty": ("", "")}


def curriculum(**changes) -> Curriculum:
    return Curriculum(CurriculumConfig(**changes), PROBLEMS)


def test_problem_starts_at_its_last_stage_and_moves_when_the_average_exceeds_the_rate():
    state = curriculum()
    seen = []
    for _ in range(7):
        seen.append((state.stage("ten"), round(state.pass_rate("ten"), 4)))
        state.update("ten", state.stage("ten"), 1.0)

    # 0.3, then 0.3 + 0.7 * 0.3 = 0.51 exceeds 0.5.
    assert seen == [(3, 0), (3, 0.3), (2, 0), (2, 0.3), (1, 0), (1, 0.3), (0, 0)]


def test_average_that_only_reaches_the_rate_does_not_move():
    state = curriculum(momentum=1.0)
    state.update("ten", 3, 0.5)

    assert (state.stage("ten"), state.pass_rate("ten")) == (3, 0.5)


def test_average_is_the_moving_average_of_shares():
    state = curriculum(pass_rate=0.9)
    for share in (0.5, 0.0, 1.0):
        state.update("ten", 3, share)

    assert state.pass_rate("ten") == pytest.approx(0.7 * (0.7 * (0.3 * 0.5)) + 0.3)


def test_groups_of_another_stage_and_groups_without_a_score_do_not_count():
    state = curriculum()
    for stage in (0, 1, 2, 4):
        state.update("ten", stage, 1.0)
    state.update("ten", 3, None)
    state.update("ten", Stage(2, 1, ""), 1.0)

    assert (state.stage("ten"), state.pass_rate("ten")) == (3, 0.0)


def test_stages_inside_the_starter_code_are_skipped():
    problems = {"t": (TEN, TEN[: TEN.index("if x > 3")])}
    state = Curriculum(CurriculumConfig(momentum=1.0), problems)
    seen = []
    for _ in range(3):
        seen.append(state.stage("t"))
        state.update("t", state.stage("t"), 1.0)

    assert (seen, state.stage("t")) == ([3, 2, 0], 0)


def test_scratch_is_never_left_and_its_average_goes_on():
    state = curriculum(momentum=1.0)
    state.update("none", 0, 1.0)
    state.update("none", 0, 0.75)

    assert (state.stage("none"), state.pass_rate("none")) == (0, 0.75)


def test_problems_at_a_stage_share_a_rate_and_move_on_together():
    problems = {"a": (TEN, ""), "b": (TEN, ""), "c": ("x = 1\n", "")}
    state = Curriculum(CurriculumConfig(rate_of="stage"), problems)
    seen = []
    for task_id in ("a", "b", "c", "b", "a"):
        seen.append([state.stage(one) for one in problems])
        state.update(task_id, state.stage(task_id), 1.0)

    # As for one problem, 0.3 and then 0.51 exceed 0.5, but it is a group of each that gives them. "c" is at scratch.
    assert seen == [[3, 3, 0], [3, 3, 0], [2, 2, 0], [2, 2, 0], [2, 2, 0]]
    assert [state.stage(one) for one in problems] == [1, 1, 0]
    assert state.summary()["curriculum/advanced"] == 4


def test_those_who_come_later_to_a_stage_find_its_rate_as_it_is():
    problems = {"early": ("if x:\n    y()\nif z:\n    y()\n", ""), "late": (TEN, "")}
    state = Curriculum(CurriculumConfig(rate_of="stage", momentum=0.4), problems)
    state.update("early", 1, 1.0)
    for stage in (3, 3, 2, 2):
        state.update("late", stage, 1.0)
    state.update("late", 1, 1.0)

    assert [state.stage(one) for one in problems] == [0, 0]


@pytest.mark.parametrize("mode", ["paper", "mix", "adaptive", "off"])
def test_fields_of_removed_modes_in_an_old_state_are_ignored(mode):
    state = curriculum(mode=mode)
    state.load_state_dict(state.state_dict() | {"level": {"level": 2, "groups": 0, "share_sum": 0.0}})

    assert state.state_dict() == curriculum(mode=mode).state_dict()


def test_state_without_rates_of_stages_is_an_older_one():
    old = curriculum(rate_of="stage").state_dict()
    del old["stage_rates"]
    state = curriculum(rate_of="stage", momentum=1.0, pass_rate=1.0)
    state.update("ten", 3, 1.0)
    state.load_state_dict(old)

    assert state.state_dict() == curriculum(rate_of="stage").state_dict()


@pytest.mark.parametrize("share", [-0.1, 1.1, math.nan])
def test_share_that_is_no_fraction_is_refused(share):
    with pytest.raises(BadInputError, match="`share` is"):
        curriculum().update("ten", 3, share)


def test_draw_is_the_current_stage():
    state = curriculum()
    first = state.draw("ten", 0)
    for _ in range(2):
        state.update("ten", 3, 1.0)

    assert first == curriculum_stages(*PROBLEMS["ten"])[0]
    assert state.draw("ten", 1) == curriculum_stages(*PROBLEMS["ten"])[1]
    assert state.draw("empty", 0) == Stage(0, 1, "")


def test_off_is_always_from_scratch():
    state = curriculum(mode="off")

    assert [state.draw(task_id, 0) for task_id in PROBLEMS] == [Stage(0, 1, "")] * 3


@pytest.mark.parametrize("mode", ["paper", "mix", "adaptive", "off"])
def test_draws_depend_on_seed_problem_and_step_alone(mode):
    def draws(**changes):
        state = curriculum(mode=mode, mix_probability=0.5, **changes)
        return [state.draw("ten", step).stage for step in range(50)]

    state = curriculum(mode=mode, mix_probability=0.5)
    backwards = [state.draw("ten", step).stage for step in reversed(range(50))]

    assert draws() == draws() == backwards[::-1]
    if mode in ("mix", "adaptive"):
        assert draws() != draws(seed=1)


def test_draws_are_the_same_in_another_process():
    code = (
        "from stepcoder_trl.curriculum import *\n"
        "solution = 'if a: pass\\n' * 10\n"
        "config = CurriculumConfig(mode='mix', mix_probability=0.5)\n"
        "state = Curriculum(config, {'t': (solution, '')})\n"
        "print([state.draw('t', step).line for step in range(30)])\n"
    )
    outputs = [
        subprocess.run(
            [sys.executable, "-c", code], env={"PYTHONHASHSEED": seed}, capture_output=True, text=True, check=True
        ).stdout
        for seed in ("1", "2")
    ]

    assert outputs[0] == outputs[1]
    assert len(set(json.loads(outputs[0]))) > 1


def test_mix_draws_from_scratch_with_its_probability():
    state = curriculum(mode="mix", mix_probability=0.3)
    stages = [state.draw("ten", step).stage for step in range(2000)]

    assert set(stages) == {0, 3}
    assert 0.25 < stages.count(0) / 2000 < 0.35


def test_mix_counts_only_groups_of_the_current_stage():
    state = curriculum(mode="mix", momentum=1.0)
    state.update("ten", 0, 1.0)

    assert state.stage("ten") == 3


def test_adaptive_cuts_before_statements_behind_the_starter_code():
    state = curriculum(mode="adaptive")
    stages = state.stages("ten")

    assert [stage.line for stage in stages] == [*range(21, 1, -1), 1]
    assert [stage.stage for stage in stages] == list(range(20, -1, -1))
    assert {state.draw("ten", step).stage for step in range(1000)} == set(range(21))


def test_adaptive_never_cuts_inside_a_string():
    problems = {"t": ("x = '''\na\n'''; y = 1\nif x:\n    '''\n'''; z = 2\nw = 3\n", "")}
    state = Curriculum(CurriculumConfig(mode="adaptive"), problems)

    assert [stage.line for stage in state.stages("t")] == [7, 5, 4, 1]
    assert all(parse(stage.prefix.rstrip().removesuffix("if x:")) for stage in state.stages("t"))


def test_adaptive_narrows_its_interval_by_success():
    state = curriculum(mode="adaptive")
    half = next(stage for stage in state.stages("ten") if len(stage.prefix) <= len(TEN) / 2)
    share = len(half.prefix) / len(TEN)

    state.update("ten", half, 1.0)
    easier = state.state_dict()["problems"]["ten"]
    state.update("ten", half, 0.0)
    harder = state.state_dict()["problems"]["ten"]

    assert (easier["low"], easier["high"]) == (0.0, share)
    assert (harder["low"], harder["high"]) == (share, (1 + share) / 2)


@given(st.lists(st.tuples(st.integers(0, 20), st.floats(0, 1)), max_size=30))
def test_adaptive_interval_stays_an_interval(groups):
    state = curriculum(mode="adaptive")
    for stage, share in groups:
        state.update("ten", stage, share)

    progress = state.state_dict()["problems"]["ten"]
    assert 0 <= progress["low"] <= progress["high"] <= 1
    assert state.draw("ten", 0) in state.stages("ten")


def test_adaptive_that_always_succeeds_comes_to_scratch_and_one_that_fails_there_leaves_it():
    state = curriculum(mode="adaptive")
    for step in range(60):
        state.update("ten", state.draw("ten", step), 1.0)
    at_scratch = state.draw("ten", 60).stage
    for step in range(60, 66):
        state.update("ten", state.draw("ten", step), 0.0)

    assert at_scratch == 0
    assert state.stage("ten") > 0


# Summary, saving, loading


def test_summary_of_known_states():
    state = curriculum()
    for share in (1.0, 1.0, 0.5):
        state.update("ten", state.stage("ten"), share)

    assert state.summary() == {
        "curriculum/scratch_share": pytest.approx(2 / 3),
        "curriculum/mean_stage": pytest.approx(2 / 3),
        "curriculum/pass_rate": pytest.approx(0.15 / 3),
        "curriculum/revealed_share": pytest.approx(TEN.index("    if x > 6") / len(TEN) / 3),
        "curriculum/advanced": 1.0,
    }


def test_summary_of_no_problems_is_zero():
    assert set(Curriculum(CurriculumConfig(), {}).summary().values()) == {0.0}


updates = st.lists(
    st.tuples(st.sampled_from(sorted(PROBLEMS)), st.integers(0, 20), st.none() | st.floats(0, 1)), max_size=30
)


@settings(deadline=None)
@given(
    st.sampled_from(["paper", "mix", "adaptive", "off"]),
    st.sampled_from(["problem", "stage"]),
    updates,
    updates,
)
def test_state_restored_from_json_goes_on_as_if_nothing_had_happened(mode, rate_of, before, after):
    original, restored = curriculum(mode=mode, rate_of=rate_of), curriculum(mode=mode, rate_of=rate_of)
    for update in before:
        original.update(*update)
    restored.load_state_dict(json.loads(json.dumps(original.state_dict())))
    for update in after:
        original.update(*update)
        restored.update(*update)

    assert restored.state_dict() == original.state_dict()
    assert restored.summary() == original.summary()
    assert [restored.draw("ten", step) for step in range(5)] == [original.draw("ten", step) for step in range(5)]


def test_saved_state_is_loaded_and_nothing_else_is_left(tmp_path):
    state, other = curriculum(momentum=1.0), curriculum()
    state.update("ten", 3, 1.0)
    state.save(tmp_path / "curriculum.json")
    other.load(tmp_path / "curriculum.json")

    assert other.state_dict() == state.state_dict()
    assert [path.name for path in tmp_path.iterdir()] == ["curriculum.json"]


def changed(**changes) -> dict:
    return curriculum().state_dict() | changes


@pytest.mark.parametrize(
    ("state", "message"),
    [
        (changed(version=2), "`version` is 2, but must be 1"),
        (changed(mode="mix"), "`mode` is 'mix', but must be 'paper'"),
        (changed(kinds="scope"), "`kinds` is 'scope'"),
        ({}, "`version` is None"),
        (changed(problems={}), "3 problems are only in the state or only in the data, such as `empty`"),
        (changed(problems={"ten": {"stage": 9}, "none": {"stage": 0}, "empty": {"stage": 0}}), "`ten` is at stage 9"),
        (changed(problems={"ten": {"place": 9}}), "damaged"),
        (changed(problems=[1]), "damaged"),
        (changed(stage_rates=None), "damaged"),
        (changed(stage_rates={"first": 0.5}), "damaged"),
    ],
)
def test_state_that_does_not_fit_is_refused_and_changes_nothing(state, message):
    own = curriculum()
    before = own.state_dict()

    with pytest.raises(BadInputError, match=message):
        own.load_state_dict(state)

    assert own.state_dict() == before


@pytest.mark.parametrize("text", ["", "{", "[]", "1"])
def test_file_that_holds_no_state_is_named(tmp_path, text):
    path = tmp_path / "curriculum.json"
    path.write_text(text)

    with pytest.raises(BadInputError, match=r"curriculum\.json: "):
        curriculum().load(path)
