"""Tables, pictures and `results.json`."""

from __future__ import annotations

import dataclasses
import json

import pytest

from benchmarks.ablation.analysis import read_runs, summarize
from benchmarks.ablation.report import PAIRS, PICTURES, gains_table, plot_gains, tables, with_gains, write_report
from benchmarks.ablation.settings import ARMS, MAIN, SMOKE
from tests.unit.benchmarks.ablation.conftest import write_run


def test_report_contains_finished_arms_as_valid_json(work, tmp_path):
    names = write_report([SMOKE, MAIN], work, tmp_path / "out")

    results = json.loads((tmp_path / "out" / "results.json").read_text(), parse_constant=pytest.fail)
    assert names == list(results) == ["smoke"]
    assert len(results["smoke"]["runs"]) == 5
    table = (tmp_path / "out" / "tables.md").read_text()
    assert "| StepCoder - PPO | training | +0.200 | +100 % | +0.400 | +0.300 | 1 of 1 |" in table
    assert tables(read_runs(SMOKE, work), summarize(read_runs(SMOKE, work), PAIRS)) == table
    assert (tmp_path / "out" / "smoke.png").stat().st_size > 1000


def test_gains_of_parts_are_tabled_across_settings(work, tmp_path):
    without = read_runs(SMOKE, work)
    write_run(work, "no_fgo", 0, [0.3, 0.5])
    found = read_runs(SMOKE, work)
    sparser = dataclasses.replace(found, setting=dataclasses.replace(SMOKE, name="other"))
    compared = with_gains({"without": without, "with": found, "other": sparser})
    plot_gains(compared, tmp_path / "gains.png")

    assert compared == [found, sparser]
    assert with_gains({"without": without, "with": found}) == []
    row = "| 0.5000 | 0.30 | held-out |  | +0.075, n 1 | +0.125, n 1 |  |  |"
    assert {f"| smoke {row}", f"| other {row}"} <= set(gains_table(compared).splitlines())
    assert (tmp_path / "gains.png").stat().st_size > 1000


def test_arms_by_grpo_stand_in_the_same_tables_and_have_a_picture(work, tmp_path):
    write_run(work, "grpo", 0, [0.1, 0.2])
    write_run(work, "grpo_stepcoder", 0, [0.4, 1.0])
    write_report([SMOKE], work, tmp_path / "out")
    table = (tmp_path / "out" / "tables.md").read_text()

    assert "| GRPO | 1 | 0.100 | 0.100 | 0.200 | 0.200 |" in table
    assert "| StepCoder on GRPO - GRPO | held-out | +0.350 |" in table
    assert "| StepCoder on GRPO - StepCoder | held-out | +0.050 |" in table
    assert "| GRPO - PPO | held-out | -0.100 |" in table
    assert "| KL, end | groups without a pass | groups that pass |" in table
    assert "| PPO | 0.5 | 0.75 | 0.75 | 1 | 2 | 0.75 | 1 |  |  | 4 |" in table
    assert "| GRPO | 0.5 | 0.75 | 0.75 | 1 | 1 | 0.75 |  | 0.75 | 0.75 | 2 |" in table
    assert (tmp_path / "out" / "smoke_grpo.png").stat().st_size > 1000


def test_setting_without_grpo_has_neither_its_picture_nor_its_columns(work, tmp_path):
    write_report([SMOKE], work, tmp_path / "out")

    assert "groups" not in (tmp_path / "out" / "tables.md").read_text()
    assert [path.name for path in (tmp_path / "out").glob("*.png")] == ["smoke.png"]


def test_every_arm_has_a_color():
    assert all(len(arms) <= 20 for arms, _ in PICTURES.values())
    assert set(ARMS) == {arm for arms, _ in PICTURES.values() for arm in arms}
