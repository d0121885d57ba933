"""Log of completions."""

from __future__ import annotations

import pyarrow.parquet

from stepcoder_trl.reports.rollouts import RolloutView
from stepcoder_trl.trainer.rollout_log import RolloutLog


def view(completion):
    return RolloutView("task", "prompt", "", (completion,), (True,), "failed", -0.3, None, 0, 1, completion=completion)


def test_completions_are_printed_and_written_once(tmp_path, capsys):
    log = RolloutLog(str(tmp_path), num_to_print=None, report_to=[])
    log.note([view("a"), view("b")])

    log.write(3, callbacks=[], is_local_main=True, is_main=True)
    log.write(4, callbacks=[], is_local_main=True, is_main=False)

    assert "Completions of update 3" in capsys.readouterr().out
    (path,) = (tmp_path / "completions").iterdir()
    assert path.name == "completions_00003.parquet"
    assert pyarrow.parquet.read_table(path).column("completion").to_pylist() == ["a", "b"]


def test_other_processes_neither_print_nor_write(tmp_path, capsys):
    log = RolloutLog(str(tmp_path), num_to_print=None, report_to=[])
    log.note([view("a")])

    log.write(3, callbacks=[], is_local_main=False, is_main=False)

    assert capsys.readouterr().out == ""
    assert list(tmp_path.iterdir()) == []
