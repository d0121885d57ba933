from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from stepcoder_trl.curriculum import Curriculum, CurriculumConfig
from stepcoder_trl.parsing import parse
from tests.unit.curriculum.examples import TEN, curriculum


def test_stages_start_at_statements_after_starter_code():
    state = curriculum(mode="adaptive")
    stages = state.stages("ten")

    assert [stage.line for stage in stages] == [*range(21, 1, -1), 1]
    assert [stage.stage for stage in stages] == list(range(20, -1, -1))
    assert {state.draw("ten", step).stage for step in range(1000)} == set(range(21))


def test_no_stage_starts_inside_a_string():
    problems = {"t": ("x = '''\na\n'''; y = 1\nif x:\n    '''\n'''; z = 2\nw = 3\n", "")}
    state = Curriculum(CurriculumConfig(mode="adaptive"), problems)

    assert [stage.line for stage in state.stages("t")] == [7, 5, 4, 1]
    assert all(parse(stage.prefix.rstrip().removesuffix("if x:")) for stage in state.stages("t"))


def test_success_lowers_upper_end_and_failure_raises_lower_end():
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
def test_interval_ends_stay_in_order(groups):
    state = curriculum(mode="adaptive")
    for stage, share in groups:
        state.update("ten", stage, share)

    progress = state.state_dict()["problems"]["ten"]
    assert 0 <= progress["low"] <= progress["high"] <= 1
    assert state.draw("ten", 0) in state.stages("ten")


def test_success_moves_to_scratch_and_failure_moves_away():
    state = curriculum(mode="adaptive")
    for step in range(60):
        state.update("ten", state.draw("ten", step), 1.0)
    at_scratch = state.draw("ten", 60).stage
    for step in range(60, 66):
        state.update("ten", state.draw("ten", step), 0.0)

    assert at_scratch == 0
    assert state.stage("ten") > 0
