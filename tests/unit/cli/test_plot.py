from __future__ import annotations

import json

import pytest

from stepcoder_trl.cli.main import main


pytest.importorskip("matplotlib")


def plot(*arguments):
    with pytest.raises(SystemExit) as ended:
        main(["plot", *map(str, arguments)])
    return ended.value.code


def make_run(folder, *checkpoints):
    for step in checkpoints:
        (folder / f"checkpoint-{step}").mkdir(parents=True)
        history = [{"step": number, "executor/passed": number / 10, "lr": 0.1} for number in range(1, step + 1)]
        history.append({"step": step, "eval_pass@1": 0.5})
        (folder / f"checkpoint-{step}" / "trainer_state.json").write_text(json.dumps({"log_history": history}))
    return folder


@pytest.fixture
def drawn(monkeypatch):
    """Record the panels instead of plotting them."""
    seen = {}
    monkeypatch.setattr(
        "stepcoder_trl.cli.plot.plot_curves",
        lambda panels, path, units: seen.update(panels=panels, path=path, units=units),
    )
    return seen


def test_newest_checkpoint_is_read(tmp_path, drawn):
    run = make_run(tmp_path / "run", 2, 10)

    assert plot(run) == 0

    assert drawn["path"] == run / "plot.png"
    assert list(drawn["panels"]) == ["Evaluation from scratch: pass@1", "Training: programs that pass"]
    assert len(drawn["panels"]["Training: programs that pass"]["run"]) == 10
    assert drawn["units"]["Training: programs that pass"] == "share of programs"


def test_several_runs_share_panels(tmp_path, drawn):
    runs = [make_run(tmp_path / "a" / "run", 3), make_run(tmp_path / "b" / "run", 2)]

    assert plot(*runs, "--metrics", "lr", "--out", tmp_path / "x.png") == 0

    assert {name: len(points) for name, points in drawn["panels"]["lr"].items()} == {str(runs[0]): 3, str(runs[1]): 2}


def test_quickstart_curves_are_read(tmp_path, drawn):
    lines = ['{"phase": "sft", "step": 7, "loss": 1}', '{"phase": "evaluation", "update": 1, "heldout": 0.25}']
    (tmp_path / "curves.jsonl").write_text("\n".join(lines))

    assert plot(tmp_path) == 0

    assert list(drawn["panels"].values()) == [{tmp_path.name: [(1, 0.25)]}]


def test_metrics_of_a_run_without_checkpoints_are_read(tmp_path, drawn):
    (tmp_path / "metrics.jsonl").write_text('{"step": 3, "executor/passed": 0.25}\n')

    assert plot(tmp_path) == 0

    assert drawn["panels"] == {"Training: programs that pass": {tmp_path.name: [(3, 0.25)]}}


def test_log_that_goes_farthest_is_read(tmp_path, drawn):
    run = make_run(tmp_path / "run", 2)
    (run / "card.json").write_text(json.dumps({"history": [{"step": 5, "executor/passed": 0.5}]}))

    assert plot(run) == 0

    assert drawn["panels"] == {"Training: programs that pass": {"run": [(5, 0.5)]}}


def test_plot_is_written_and_counted(tmp_path, capsys):
    assert plot(make_run(tmp_path / "run", 2)) == 0

    assert (tmp_path / "run" / "plot.png").read_bytes().startswith(b"\x89PNG")
    assert "Wrote 2 panels of 1 run to " in capsys.readouterr().out


def test_plot_in_a_subfolder_of_the_run_is_replaced(tmp_path):
    run = make_run(tmp_path / "run", 2)
    (run / "plots").mkdir()

    assert [plot(run, "--out", run / "plots" / "x.png") for _ in range(2)] == [0, 0]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (
            ["--metrics", "word"],
            "No run has the metric 'word'. Available metrics: eval_pass@1, executor/passed, lr, step.",
        ),
        (["--out", "/no/such/folder/x.png"], "the folder does not exist"),
    ],
)
def test_unknown_metric_or_folder_is_one_error(tmp_path, capsys, flags, message):
    assert plot(make_run(tmp_path / "run", 1), *flags) == 2

    assert message in capsys.readouterr().err


def test_folder_without_log_is_an_error(tmp_path, capsys):
    assert plot(tmp_path) == 2

    assert "nor a checkpoint with trainer_state.json" in capsys.readouterr().err
