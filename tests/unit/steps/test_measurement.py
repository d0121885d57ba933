"""Measurement of stages: what is sampled, counts by hand, and going on where it stopped."""

from __future__ import annotations

from stepcoder_trl.curriculum import Curriculum, CurriculumConfig
from stepcoder_trl.curriculum.measured import StageRate
from stepcoder_trl.steps.measurement import (
    groups_digest,
    groups_to_measure,
    measure_groups,
    passes_of,
    split_groups,
)
from stepcoder_trl.steps.queries import Query
from stepcoder_trl.steps.rows import PromptRow, as_rows
from stepcoder_trl.types import Outcome
from tests.unit.steps.samples import make_execution


def curriculum_of(rows):
    return Curriculum(CurriculumConfig(), {row.task_id: (row.canonical_solution, row.starter_code) for row in rows})


def build(row, prefix):
    return Query(row.prompt + prefix, prefix, tuple(map(ord, prefix[-3:])))


def rows_of(problems):
    first, second, *_ = as_rows(problems)
    plain = PromptRow("short", "p", canonical_solution="print(1)\n", tests=first.tests)
    untested = PromptRow("untested", "p", canonical_solution=first.canonical_solution)
    return [first, plain, untested, second]


def test_each_stage_of_problems_with_a_choice_is_sampled(problems):
    rows = rows_of(problems)

    groups = groups_to_measure(rows, curriculum_of(rows))

    assert [(one.row.task_id, one.stage.stage, one.number) for one in groups] == [
        *(("sign/0", 1, 0), ("sign/0", 0, 1), ("sign/1", 1, 2), ("sign/1", 0, 3)),
    ]


def test_counts_by_hand_in_batches(problems):
    rows = rows_of(problems)
    groups, asked = groups_to_measure(rows, curriculum_of(rows)), []
    answers = {0: [True, False, None], 1: [None, None, None], 2: [True, True, True], 3: [False, False, False]}

    def sample(starts, number):
        asked.append((number, [start.query.prefix == start.stage.prefix for start in starts]))
        return [answers[number + place] for place in range(len(starts))]

    batches = list(measure_groups(groups, 3, build, sample))

    assert batches == [
        [StageRate("sign/0", 1, 1, 2), StageRate("sign/0", 0, 0, 0), StageRate("sign/1", 1, 3, 3)],
        [StageRate("sign/1", 0, 0, 3)],
    ]
    assert asked == [(0, [True] * 3), (3, [True])]


def test_measurement_goes_on_with_the_batch_that_was_not_saved(problems):
    rows = rows_of(problems)
    groups, asked = groups_to_measure(rows, curriculum_of(rows)), []

    def sample(starts, number):
        asked.append(number)
        return [[True]] * len(starts)

    whole = list(measure_groups(groups, 2, build, sample))
    rest = list(measure_groups(groups, 2, build, sample, known=whole[0]))

    assert rest == whole[1:]
    assert asked == [0, 2, 2]


def test_digest_depends_on_queries_and_tests(problems):
    rows = rows_of(problems)
    groups = groups_to_measure(rows, curriculum_of(rows))

    digest = groups_digest(groups, build)

    assert groups_digest(groups, build) == digest
    assert groups_digest(groups[:3], build) != digest
    assert groups_digest(groups, lambda row, prefix: Query("", prefix, (1,))) != digest


def test_passes_are_grouped():
    runs = [make_execution(Outcome.PASSED), make_execution(Outcome.TIMEOUT), None, make_execution(Outcome.PASSED)]

    assert split_groups(passes_of(runs), 2) == [[True, False], [None, True]]
