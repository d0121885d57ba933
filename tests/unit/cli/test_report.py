"""Test `stepcoder-trl report`."""

from __future__ import annotations

import dataclasses
import json

import pytest

from stepcoder_trl.cli.main import main
from stepcoder_trl.reports.run_facts import write_facts
from stepcoder_trl.reports.run_record import RunRecorder
from tests.unit.reports.test_html import view
from tests.unit.reports.test_model_card import FACTS


def report(*arguments):
    with pytest.raises(SystemExit) as ended:
        main(["report", *map(str, arguments)])
    return ended.value.code


@pytest.fixture
def run(tmp_path):
    """Directory of a run whose newest checkpoint is at update 20."""
    folder = tmp_path / "run"
    checkpoint = folder / "checkpoint-20"
    checkpoint.mkdir(parents=True)
    write_facts(FACTS, checkpoint)
    (checkpoint / "trainer_state.json").write_text(json.dumps({"log_history": FACTS.history}))
    recorder = RunRecorder(folder)
    recorder.begin(0, 40)
    recorder.add(1, [view(task_id="task of update 1")], [1, 1, 0])
    return folder


def test_page_is_written_beside_the_run(run, capsys):
    assert report(run) == 0

    page = (run / "report.html").read_text()
    assert "20 of 40 updates, not finished" in page
    assert "task of update 1" in page
    assert f"Wrote the page of 20 of 40 updates to {run / 'report.html'}." in capsys.readouterr().out


def test_run_that_was_killed_while_it_logged_has_a_page(run):
    (run / "metrics.jsonl").write_text('{"step": 30, "objective/scores": 0.5}\n{"step": 31, "objective/sc')

    assert report(run) == 0

    assert "30 of 40 updates, not finished" in (run / "report.html").read_text()


def test_page_can_be_written_elsewhere(run, tmp_path):
    assert report(run, "--out", tmp_path / "page.html") == 0

    assert (tmp_path / "page.html").exists()
    assert not (run / "report.html").exists()


def test_facts_of_the_finished_run_are_read(run):
    write_facts(dataclasses.replace(FACTS, update=40, pass_rates=[]), run)

    assert report(run) == 0

    assert "40 of 40 updates, finished" in (run / "report.html").read_text()


def test_run_of_the_quickstart_is_found(run):
    run.rename(run.with_name("policy"))
    write_facts(FACTS, run.with_name("policy"))

    assert report(run.parent) == 0

    assert "task of update 1" in (run.parent / "report.html").read_text()


@pytest.mark.parametrize(
    ("content", "message"), [(None, "there is neither card.json nor a checkpoint"), ("{", "is not the file")]
)
def test_folder_without_a_run_is_one_error(tmp_path, capsys, content, message):
    if content:
        (tmp_path / "card.json").write_text(content)

    assert report(tmp_path) == 2

    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_missing_folder_is_one_error(tmp_path, capsys):
    assert report(tmp_path / "nothing") == 2

    assert "is not a folder" in capsys.readouterr().err
