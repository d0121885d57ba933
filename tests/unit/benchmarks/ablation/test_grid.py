"""Jobs of a grid, and runs restored from a report."""

from __future__ import annotations

import dataclasses
import json
import sys

import pytest

from benchmarks.ablation import grid
from benchmarks.ablation.analysis import read_runs
from benchmarks.ablation.files import locked
from benchmarks.ablation.report import write_report
from benchmarks.ablation.settings import SETTINGS, SMOKE, Job
from tests.unit.benchmarks.ablation.conftest import write_run


@pytest.fixture
def scripted_runs(monkeypatch):
    """Replace runs by a script that writes their file. Runs of seed 1 fail."""
    script = (
        "import sys, pathlib; from benchmarks.ablation.settings import *; seed = int(sys.argv[6])\n"
        "path = Job(SETTINGS[sys.argv[2]], sys.argv[4], seed).path(pathlib.Path(sys.argv[8]))\n"
        "print('begun'); seed != 1 or sys.exit(3); path.write_text('done')\n"
    )
    real = grid.subprocess.run

    def run(command, **keywords):
        return real([sys.executable, "-c", script, *command[3:]], **keywords)

    monkeypatch.setattr(grid.subprocess, "run", run)


def test_finished_jobs_are_skipped_and_failed_ones_repeated(tmp_path, scripted_runs, capsys):
    jobs = [Job(SMOKE, "ppo", seed) for seed in range(3)]
    first = grid.run_grid(jobs, tmp_path, processes=2)
    jobs[0].path(tmp_path).write_text("kept")
    capsys.readouterr()
    second = grid.run_grid(jobs, tmp_path, processes=1)

    assert first == second == [jobs[1]]
    assert jobs[0].path(tmp_path).read_text() == "kept"
    assert capsys.readouterr().out.startswith("smoke, PPO, seed 1: FAILED")
    assert "begun" in jobs[1].path(tmp_path).with_suffix(".log").read_text()


def test_job_locked_by_another_grid_is_skipped(tmp_path, scripted_runs):
    job = Job(SMOKE, "ppo", 0)
    with locked(job.path(tmp_path)) as lock:
        assert lock is not None
        grid.run_grid([job], tmp_path, processes=1)

        assert not job.path(tmp_path).exists()
    grid.run_grid([job], tmp_path, processes=1)
    assert job.path(tmp_path).exists()


def test_runs_are_restored_from_report(work, tmp_path):
    write_report([SMOKE], work, tmp_path / "out")
    elsewhere = tmp_path / "elsewhere"
    write_run(elsewhere, "ppo", 0, [0.0, 0.0])

    assert grid.restore_runs(tmp_path / "out" / "results.json", elsewhere) == 4
    assert grid.restore_runs(tmp_path / "out" / "results.json", elsewhere) == 0
    assert grid.restore_runs(tmp_path / "none.json", elsewhere) == 0
    runs, before = read_runs(SMOKE, elsewhere), read_runs(SMOKE, work)
    assert runs.by_arm["stepcoder"] == before.by_arm["stepcoder"]
    assert runs.by_arm["ppo"][1] == before.by_arm["ppo"][1]
    assert runs.curve("ppo", 0, "heldout")[-1][1] == 0.0  # existing results stay


def test_runs_of_changed_setting_are_refused(work, tmp_path, monkeypatch):
    write_report([SMOKE], work, tmp_path / "out")
    monkeypatch.setitem(SETTINGS, "smoke", dataclasses.replace(SMOKE, updates=3))

    with pytest.raises(SystemExit, match="5 runs of settings that have changed since, first smoke/ppo-"):
        grid.restore_runs(tmp_path / "out" / "results.json", tmp_path / "elsewhere")


@pytest.mark.parametrize("text", ["", "[]", "{}x", '{"sparse": {}}', '{"sparse": {"runs": [{"arm": "ppo"}]}}'])
def test_file_without_runs_is_refused(tmp_path, text):
    results = tmp_path / "results.json"
    results.write_text(text)

    with pytest.raises(SystemExit, match="holds no runs of this benchmark"):
        grid.restore_runs(results, tmp_path)


def test_published_runs_match_current_settings(tmp_path):
    results = grid.CHECKOUT / "docs" / "results" / "ablation" / "results.json"

    assert grid.restore_runs(results, tmp_path) == sum(
        len(one["runs"]) for one in json.loads(results.read_text()).values()
    )
