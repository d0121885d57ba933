"""The pictures of the README are what the library says today."""

from __future__ import annotations

import json

import pytest

from docs.pictures.draw import COMPLETIONS, HERE, RESULTS, learning_curves, panels, stages_svg


@pytest.mark.sandbox
def test_picture_of_stages_is_what_the_sandbox_says():
    shown = panels()

    assert stages_svg(shown) == (HERE / "stages.svg").read_text(encoding="utf-8")
    assert [panel.stage for panel in shown] == list(COMPLETIONS)
    assert [panel.execution.outcome.value for panel in shown] == ["passed", "failed", "runtime_error"]
    assert all("dead" in {kind for _, kind in panel.lines()} for panel in shown[:2])


def test_learning_curves_end_where_the_results_say():
    ends = json.loads(RESULTS.read_text(encoding="utf-8"))["sparse"]["arms"]

    for arm in ("ppo", "stepcoder"):
        rollouts, last = learning_curves(arm)[-1]
        assert last.mean == pytest.approx(ends[arm]["heldout_end"]["mean"], abs=1e-5)
        assert rollouts > 1000
