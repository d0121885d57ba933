from __future__ import annotations

import pytest

from stepcoder_trl.curriculum import Curriculum, CurriculumConfig, Stage, curriculum_stages
from tests.unit.curriculum.examples import PROBLEMS, TEN, curriculum


def test_problem_advances_when_average_exceeds_pass_rate():
    state = curriculum()
    seen = []
    for _ in range(7):
        seen.append((state.stage("ten"), round(state.pass_rate("ten"), 4)))
        state.update("ten", state.stage("ten"), 1.0)

    # 0.3, then 0.3 + 0.7 * 0.3 = 0.51 exceeds 0.5.
    assert seen == [(3, 0), (3, 0.3), (2, 0), (2, 0.3), (1, 0), (1, 0.3), (0, 0)]


def test_problem_stays_when_average_equals_pass_rate():
    state = curriculum(momentum=1.0)
    state.update("ten", 3, 0.5)

    assert (state.stage("ten"), state.pass_rate("ten")) == (3, 0.5)


def test_pass_rate_is_moving_average_of_shares():
    state = curriculum(pass_rate=0.9)
    for share in (0.5, 0.0, 1.0):
        state.update("ten", 3, share)

    assert state.pass_rate("ten") == pytest.approx(0.7 * (0.7 * (0.3 * 0.5)) + 0.3)


def test_groups_of_other_stages_or_without_score_are_ignored():
    state = curriculum()
    for stage in (0, 1, 2, 4):
        state.update("ten", stage, 1.0)
    state.update("ten", 3, None)
    state.update("ten", Stage(2, 1, ""), 1.0)

    assert (state.stage("ten"), state.pass_rate("ten")) == (3, 0.0)


def test_stages_inside_starter_code_are_skipped():
    problems = {"t": (TEN, TEN[: TEN.index("if x > 3")])}
    state = Curriculum(CurriculumConfig(momentum=1.0), problems)
    seen = []
    for _ in range(3):
        seen.append(state.stage("t"))
        state.update("t", state.stage("t"), 1.0)

    assert (seen, state.stage("t")) == ([3, 2, 0], 0)


def test_problem_at_scratch_stays_and_its_average_continues():
    state = curriculum(momentum=1.0)
    state.update("none", 0, 1.0)
    state.update("none", 0, 0.75)

    assert (state.stage("none"), state.pass_rate("none")) == (0, 0.75)


def test_problems_with_shared_rate_advance_together():
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


def test_shared_rate_is_kept_when_problem_arrives():
    problems = {"early": ("if x:\n    y()\nif z:\n    y()\n", ""), "late": (TEN, "")}
    state = Curriculum(CurriculumConfig(rate_of="stage", momentum=0.4), problems)
    state.update("early", 1, 1.0)
    for stage in (3, 3, 2, 2):
        state.update("late", stage, 1.0)
    state.update("late", 1, 1.0)

    assert [state.stage(one) for one in problems] == [0, 0]


def test_older_state_without_stage_rates_is_loaded():
    old = curriculum(rate_of="stage").state_dict()
    del old["stage_rates"]
    state = curriculum(rate_of="stage", momentum=1.0, pass_rate=1.0)
    state.update("ten", 3, 1.0)
    state.load_state_dict(old)

    assert state.state_dict() == curriculum(rate_of="stage").state_dict()


def test_draw_returns_current_stage():
    state = curriculum()
    first = state.draw("ten", 0)
    for _ in range(2):
        state.update("ten", 3, 1.0)

    assert first == curriculum_stages(*PROBLEMS["ten"])[0]
    assert state.draw("ten", 1) == curriculum_stages(*PROBLEMS["ten"])[1]
    assert state.draw("empty", 0) == Stage(0, 1, "")


def test_mix_draws_scratch_with_its_probability():
    state = curriculum(mode="mix", mix_probability=0.3)
    stages = [state.draw("ten", step).stage for step in range(2000)]

    assert set(stages) == {0, 3}
    assert 0.25 < stages.count(0) / 2000 < 0.35


def test_mix_counts_only_groups_of_the_current_stage():
    state = curriculum(mode="mix", momentum=1.0)
    state.update("ten", 0, 1.0)

    assert state.stage("ten") == 3


def test_solved_group_leaves_its_stage_at_once():
    state = curriculum(leave_solved=True)
    seen = []
    for share in (0.75, 1.0, 1.0, 0.875, 1.0, 1.0):
        seen.append(state.stage("ten"))
        state.update("ten", state.stage("ten"), share)

    # No average exceeds 0.5: the largest are 0.4575 before the second move and 0.48375 before the last.
    assert seen == [3, 3, 2, 1, 1, 0]
    assert (state.stage("ten"), state.summary()["curriculum/advanced"]) == (0, 3)


def test_solved_group_moves_a_problem_one_stage_only():
    state = curriculum(leave_solved=True, momentum=1.0)
    state.update("ten", 3, 1.0)

    assert state.stage("ten") == 2


def test_solved_group_moves_its_problem_alone_where_problems_share_a_rate():
    state = Curriculum(CurriculumConfig(rate_of="stage", leave_solved=True), {"a": (TEN, ""), "b": (TEN, "")})
    state.update("a", 3, 1.0)

    assert (state.stage("a"), state.stage("b")) == (2, 3)
