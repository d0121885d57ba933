"""Tables, pictures and `results.json`."""

from __future__ import annotations

import dataclasses
import json

import pytest

from benchmarks.ablation.analysis import read_runs, summarize
from benchmarks.ablation.report import PAIRS, gains_table, plot_gains, tables, with_gains, write_report
from benchmarks.ablation.settings import MAIN, SMOKE
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
