"""Start at the measured stage: the choice, its ties, summaries and the file."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepcoder_trl.curriculum import Curriculum, CurriculumConfig
from stepcoder_trl.curriculum.measured import (
    MeasurementFile,
    StageRate,
    best_start,
    best_starts,
    read_measurement,
    summarize_stages,
    summary_cells,
)
from stepcoder_trl.errors import BadInputError
from tests.conftest import SIGN


def rates(*passed, scored=4, task_id="a"):
    """Return the samples of stages, from the first of training to scratch."""
    return [
        StageRate(task_id, stage, one, scored) for stage, one in zip(range(len(passed))[::-1], passed, strict=True)
    ]


@pytest.mark.parametrize(
    ("passed", "stage"),
    [
        ((4, 2, 0), 1),
        ((3, 4, 1), 2),  # equally near: the one that passes more often
        ((1, 0, 3), 0),
        ((0, 0, 0), 2),  # nothing passes: what shows most
        ((4, 4, 4), 0),  # everything passes: scratch
        ((4, 0, 0), 2),  # no group has both, but one has a pass
        ((1, 1, 0), 2),  # equal rates below one half: what shows most
        ((3, 3, 4), 1),  # from one half on: what shows least
        ((2, 2, 2), 0),
    ],
)
def test_start_by_hand(passed, stage):
    assert best_start(rates(*passed)) == stage


def test_stage_without_a_judged_sample_is_ignored():
    assert best_start([StageRate("a", 1, 0, 0), StageRate("a", 0, 0, 4)]) == 0
    assert best_start([StageRate("a", 1, 0, 0)]) is None
    assert best_starts([StageRate("a", 1, 0, 0), StageRate("b", 2, 1, 2), StageRate("b", 0, 0, 2)]) == {"b": 2}


counts = st.integers(1, 6).flatmap(lambda scored: st.tuples(st.integers(0, scored), st.just(scored)))


@given(st.lists(counts, min_size=1, max_size=6), st.randoms())
def test_no_other_stage_is_nearer_to_one_half(found, shuffle):
    stages = [StageRate("a", number, *one) for number, one in enumerate(found)]
    shuffled = shuffle.sample(stages, len(stages))

    chosen = best_start(stages)

    distances = {one.stage: abs(one.passed / one.scored - 0.5) for one in stages}
    assert distances[chosen] == pytest.approx(min(distances.values()))
    assert best_start(shuffled) == chosen


@given(st.lists(counts, min_size=2, max_size=6), st.integers(0, 5))
def test_stages_farther_from_one_half_do_not_matter(found, place):
    stages = [StageRate("a", number, *one) for number, one in enumerate(found)]
    chosen = best_start(stages)
    removed = stages[place % len(stages)]

    if removed.stage != chosen:
        assert best_start([one for one in stages if one is not removed]) == chosen


def test_summary_by_hand():
    found = [*rates(4, 1, 0), *rates(2, 0, task_id="b"), StageRate("c", 1, 0, 0)]

    assert [summary_cells(one) for one in summarize_stages(found)] == [
        ["2", "1", "1.000", "0", "0", "0", "1", "0"],
        ["1", "2", "0.375", "0", "1", "1", "0", "2"],
        ["scratch", "2", "0.000", "2", "0", "0", "0", "0"],
    ]


def curriculum(mode="paper"):
    return Curriculum(CurriculumConfig(mode=mode), {"a": (SIGN, "def sign(x):\n"), "b": (SIGN, "")})


def test_curriculum_starts_where_it_is_told():
    own = curriculum("mix")

    own.start_at({"a": 0})

    assert (own.stage("a"), own.stage("b")) == (0, 1)
    assert own.summary()["curriculum/advanced"] == 0
    own.update("a", 1, 1.0)  # no longer its stage
    assert own.pass_rate("a") == 0.0


@pytest.mark.parametrize(
    ("mode", "stages", "message"), [("paper", {"b": 0, "a": 7}, "no stage 7"), ("adaptive", {"a": 0}, "adaptive")]
)
def test_wrong_start_is_refused_and_changes_nothing(mode, stages, message):
    own = curriculum(mode)
    before = own.digest()

    with pytest.raises(BadInputError, match=message):
        own.start_at(stages)

    assert own.digest() == before


def test_file_is_read_by_the_same_measurement_only(tmp_path):
    path, found = tmp_path / "run" / "stages.jsonl", rates(4, 1)
    file = MeasurementFile(path, {"model": "m", "samples": 4})
    assert file.read() == []

    file.write(found)

    assert file.read() == found
    assert read_measurement(path) == found
    assert MeasurementFile(path, {"samples": 4, "model": "m"}).read() == found
    assert MeasurementFile(path, {"model": "other", "samples": 4}).read() == []
    assert json.loads(path.read_text().splitlines()[1]) == {"task_id": "a", "stage": 1, "passed": 4, "scored": 4}


def test_stage_without_a_judged_sample_is_measured_again(tmp_path):
    file = MeasurementFile(tmp_path / "stages.jsonl", {"model": "m"})

    file.write([StageRate("a", 1, 2, 4), StageRate("a", 0, 0, 0)])

    assert file.read() == [StageRate("a", 1, 2, 4)]


@pytest.mark.parametrize(
    "text", ["", "{}\n", '{"version": 9, "identity": {}}\n', '{"version": 1, "identity": {}}\n{"x": 1}\n']
)
def test_file_of_another_kind_has_no_stages(tmp_path, text):
    path = tmp_path / "stages.jsonl"
    path.write_text(text)

    assert read_measurement(path) == []
