"""Starts."""

from __future__ import annotations

import pytest

from stepcoder_trl.curriculum import Curriculum, CurriculumConfig
from stepcoder_trl.steps.queries import Query
from stepcoder_trl.steps.rows import as_rows
from stepcoder_trl.steps.starts import draw_starts, group_shares, has_passed, report_shares
from stepcoder_trl.types import Outcome
from tests.unit.steps.samples import make_completion, make_execution


def query_of(row, prefix):
    return Query(row.prompt + prefix, prefix, (1,))


def curriculum_of(rows, **config):
    return Curriculum(
        CurriculumConfig(**config), {row.task_id: (row.canonical_solution, row.starter_code) for row in rows}
    )


def test_all_completions_of_a_problem_start_at_its_stage(problems):
    first, second, *_ = as_rows(problems)
    built = []

    def build(row, prefix):
        built.append(row.task_id)
        return query_of(row, prefix)

    starts = draw_starts([first, first, second], curriculum_of([first, second]), 0, build, first_number=6)

    assert [start.number for start in starts] == [6, 7, 8]
    assert [start.stage.stage for start in starts] == [1, 1, 1]
    assert starts[0].query.prefix == starts[0].stage.prefix != ""
    assert built == [first.task_id, second.task_id]


def test_without_a_curriculum_every_start_is_from_scratch(problems):
    rows = as_rows(problems[:1])

    (start,) = draw_starts(rows, None, 0, query_of)

    assert (start.stage, start.query.prefix) == (None, "")


@pytest.mark.parametrize(
    ("tests", "execution", "score", "pass_score", "passed"),
    [
        ({}, make_execution(Outcome.PASSED), 1.0, None, True),
        ({}, make_execution(Outcome.FAILED), 1.0, 0.5, False),
        ({}, None, 1.0, 0.5, None),
        ({}, make_execution(Outcome.PASSED), None, None, None),
        (None, None, 0.6, 0.5, True),
        (None, None, 0.5, 0.5, False),
        (None, None, 0.6, None, None),
    ],
)
def test_tests_or_else_the_score_decide_whether_a_completion_passes(tests, execution, score, pass_score, passed):
    start = make_completion("", "", tests=tests).start

    assert has_passed(start, execution, score, pass_score) is passed


def test_pass_rates_of_groups_by_hand():
    results = [("b", 1, True), ("a", 0, None), ("b", 1, None), ("b", 1, False), ("b", 0, True)]

    assert group_shares(results) == [("b", 1, 0.5), ("a", 0, None), ("b", 0, 1.0)]


def test_problem_whose_group_passed_moves_on(problems):
    first, second, *_ = as_rows(problems)
    curriculum = curriculum_of([first, second], pass_rate=0.2)

    report_shares(curriculum, [(first.task_id, 1, True), (second.task_id, 1, False), (first.task_id, 1, True)])

    assert [curriculum.stage(row.task_id) for row in (first, second)] == [0, 1]
