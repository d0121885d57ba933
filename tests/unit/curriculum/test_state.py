from __future__ import annotations

import json
import math
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stepcoder_trl.curriculum import Curriculum, CurriculumConfig, Stage
from stepcoder_trl.errors import BadInputError
from tests.unit.curriculum.examples import PROBLEMS, TEN, curriculum


@pytest.mark.parametrize("share", [-0.1, 1.1, math.nan])
def test_share_outside_0_to_1_raises(share):
    with pytest.raises(BadInputError, match="`share` is"):
        curriculum().update("ten", 3, share)


def test_off_is_always_from_scratch():
    state = curriculum(mode="off")

    assert [state.draw(task_id, 0) for task_id in PROBLEMS] == [Stage(0, 1, "")] * 3


@pytest.mark.parametrize("mode", ["paper", "mix", "adaptive", "off"])
def test_draws_depend_only_on_seed_problem_and_step(mode):
    def draws(**changes):
        state = curriculum(mode=mode, mix_probability=0.5, **changes)
        return [state.draw("ten", step).stage for step in range(50)]

    state = curriculum(mode=mode, mix_probability=0.5)
    backwards = [state.draw("ten", step).stage for step in reversed(range(50))]

    assert draws() == draws() == backwards[::-1]
    if mode in ("mix", "adaptive"):
        assert draws() != draws(seed=1)


def test_draws_are_equal_in_another_process():
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


def test_summary_without_problems_is_zero():
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
def test_restored_state_continues_like_the_original(mode, rate_of, before, after):
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


def test_saved_state_is_loaded_and_no_other_file_is_left(tmp_path):
    state, other = curriculum(momentum=1.0), curriculum()
    state.update("ten", 3, 1.0)
    state.save(tmp_path / "curriculum.json")
    other.load(tmp_path / "curriculum.json")

    assert other.state_dict() == state.state_dict()
    assert [path.name for path in tmp_path.iterdir()] == ["curriculum.json"]


@pytest.mark.parametrize("mode", ["paper", "mix", "adaptive"])
def test_older_state_with_fields_of_removed_modes_is_loaded(mode):
    old = {
        "version": 1,
        "mode": mode,
        "kinds": "statements",
        "advanced": 5,
        "level": {"level": 2, "groups": 0, "share_sum": 0.0},
        "stage_rates": {"2": 0.25},
        "problems": {
            "ten": {"stage": 2, "pass_rate": 0.125, "low": 0.5, "high": 0.75},
            "none": {"stage": 0, "pass_rate": 1.0, "low": 0.0, "high": 0.0},
            "empty": {"stage": 0, "pass_rate": 0.0, "low": 0.0, "high": 1.0},
        },
    }
    state = curriculum(mode=mode)

    state.load_state_dict(old)

    kept = {"low": 0.5, "high": 0.75} if mode == "adaptive" else {"stage": 2}
    assert state.state_dict()["problems"]["ten"] == {"pass_rate": 0.125, **kept}
    assert state.summary()["curriculum/advanced"] == 5


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
        (changed(problems={"ten": {"stage": 9}, "none": {"stage": 0}, "empty": {"stage": 0}}), "`ten` has no stage 9"),
        (changed(problems={"ten": {"place": 9}, "none": {"stage": 0}, "empty": {"stage": 0}}), "damaged"),
        (changed(problems=[1]), "damaged"),
        (changed(stage_rates=None), "damaged"),
        (changed(stage_rates={"first": 0.5}), "damaged"),
    ],
)
def test_invalid_state_raises_and_changes_nothing(state, message):
    own = curriculum()
    before = own.state_dict()

    with pytest.raises(BadInputError, match=message):
        own.load_state_dict(state)

    assert own.state_dict() == before


@pytest.mark.parametrize("text", ["", "{", "[]", "1"])
def test_error_for_invalid_state_file_names_it(tmp_path, text):
    path = tmp_path / "curriculum.json"
    path.write_text(text)

    with pytest.raises(BadInputError, match=r"curriculum\.json: "):
        curriculum().load(path)
