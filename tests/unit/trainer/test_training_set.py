"""Training set: rows that fit, and the report on their solutions."""

from __future__ import annotations

import logging

import pytest

from stepcoder_trl.curriculum import CurriculumConfig
from stepcoder_trl.steps.queries import Query
from stepcoder_trl.steps.rows import as_rows
from stepcoder_trl.steps.solutions import SolutionReport
from stepcoder_trl.trainer.training_set import TrainingSet


def build_query(row, prefix):
    return Query("", prefix, tuple(range(len(row.prompt) + len(prefix or row.starter_code))))


@pytest.fixture
def rows(problems):
    return as_rows(problems[:3])


def make(rows, limit=10_000.0):
    return TrainingSet(rows, CurriculumConfig(), build_query, limit)


def test_rows_with_a_long_query_are_left_out_of_rows_and_curriculum(rows, caplog):
    long = as_rows([{"task_id": "long", "prompt": "x" * 500, "tests": rows[0].tests}])

    with caplog.at_level(logging.WARNING, logger="stepcoder_trl"):
        training_set = make([*rows, *long], limit=400.0)

    assert [row.task_id for row in training_set.rows] == [row.task_id for row in rows]
    assert training_set.curriculum.state_dict()["problems"].keys() == {row.task_id for row in rows}
    assert "1 of 4 problems are left out" in caplog.text


def test_the_longest_prefix_of_the_curriculum_counts(rows):
    scratch = max(len(build_query(row, "").token_ids) for row in rows)

    assert make(rows, limit=scratch).rows == []


def test_problem_with_a_failing_solution_restarts_from_scratch(rows):
    training_set = make(rows)
    training_set.curriculum.update(rows[1].task_id, 1, 1.0)
    training_set.curriculum.update(rows[1].task_id, 1, 1.0)
    training_set.curriculum.update(rows[1].task_id, 1, 1.0)

    training_set.use_solutions(SolutionReport({rows[0].task_id: "failed"}, {rows[2].task_id: 9.0}))

    stages = [training_set.curriculum.stages(row.task_id)[0].stage for row in rows]
    assert stages == [0, 1, 1]
    assert training_set.curriculum.stage(rows[1].task_id) == 0  # moved before, and stays there
    assert training_set.rows[2].tests["timeout_s"] == 9.0
    assert training_set.given == rows


def test_rows_of_upstreams_kind_have_neither_curriculum_nor_tests():
    training_set = make(as_rows([{"input_ids": [1, 2]}]))

    assert training_set.curriculum is None
    assert not training_set.has_problems
    assert not training_set.has_tests
