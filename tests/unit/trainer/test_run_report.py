"""A run is never lost to its report."""

from __future__ import annotations

import errno
import json
import logging
from pathlib import Path
from types import SimpleNamespace

import pytest
from transformers import TrainerState

from stepcoder_trl.errors import SandboxError
from stepcoder_trl.trainer import run_report
from stepcoder_trl.trainer.announcements import MetricsFile
from stepcoder_trl.trainer.report_guard import ReportGuard
from stepcoder_trl.trainer.run_report import RunReport, SFTReport
from tests.unit.reports.test_html import view
from tests.unit.reports.test_model_card import FACTS


STATE = TrainerState(global_step=0, max_steps=4, is_world_process_zero=True)


class Trainer(SimpleNamespace):
    """Stand-in for a trainer, which unlike a plain namespace can be referred to weakly."""


@pytest.fixture
def trainer(tmp_path):
    data = SimpleNamespace(curriculum=None)
    args = SimpleNamespace(output_dir=str(tmp_path))
    return Trainer(args=args, state=STATE, training_set=data, is_world_process_zero=lambda: True)


def test_report_of_a_run_is_written(trainer, tmp_path):
    report = RunReport(trainer, lambda _: FACTS)

    report.on_train_begin(trainer.args, STATE, None)
    report.add(lambda: [view()])
    report.write_card(tmp_path)
    report.on_train_end(trainer.args, STATE, None)

    names = {"README.md", "card.json", "record", "report.html"}
    assert names <= {path.name for path in tmp_path.iterdir()}


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left"), TypeError("a bug"), KeyError("k")])
def test_reports_that_fail_are_one_warning(trainer, tmp_path, monkeypatch, caplog, error):
    def fail(*_):
        raise error

    for name in ("write_card", "write_facts", "write_page"):
        monkeypatch.setattr(run_report, name, fail)
    report = RunReport(trainer, lambda _: FACTS)
    monkeypatch.setattr(report.recorder, "add", fail)

    with caplog.at_level(logging.WARNING):
        report.on_train_begin(trainer.args, STATE, None)
        report.add(lambda: [view()])
        report.write_card(tmp_path)
        report.on_train_end(trainer.args, STATE, None)
    assert [type(error).__name__ in one.message for one in caplog.records] == [True]

    sft = SFTReport(trainer, lambda _: FACTS)
    sft.on_save(trainer.args, STATE, None)
    sft.write_files(str(tmp_path))
    assert len(caplog.records) == 2


def test_metrics_that_cannot_be_written_are_one_warning(tmp_path, caplog):
    file, args = MetricsFile(), SimpleNamespace(output_dir=str(tmp_path))
    path = Path(tmp_path) / "metrics.jsonl"
    path.mkdir()

    for step in (1, 2):
        file.on_log(args, TrainerState(global_step=step), None, logs={"score": 1})
    path.rmdir()
    file.on_log(args, TrainerState(global_step=3), None, logs={"score": 1})

    assert len(caplog.records) == 1
    assert json.loads(path.read_text()) == {"step": 3, "score": 1}


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SandboxError("no programs run")])
def test_other_errors_end_a_run(error):
    with pytest.raises(type(error)):
        with ReportGuard().tolerant():
            raise error
