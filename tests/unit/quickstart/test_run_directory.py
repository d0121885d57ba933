"""Creation of the run directory."""

import io

import pytest
from rich.console import Console

from stepcoder_trl.errors import BadInputError
from stepcoder_trl.quickstart.run_directory import RunDirectory, new_run_directory


@pytest.mark.parametrize("left", ["summary.json", "curves.jsonl"], ids=["finished", "interrupted"])
def test_existing_run_is_not_overwritten(tmp_path, left):
    out = tmp_path / "run"
    names = []
    for _ in range(3):
        names.append(new_run_directory(str(out)).name)
        (tmp_path / names[-1] / left).write_text("{}")

    assert names == ["run", "run-2", "run-3"]


def test_run_says_where_it_goes_and_how_far_it_is_outside_a_terminal(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "summary.json").write_text("{}")
    console = Console(file=io.StringIO(), width=300)

    run = RunDirectory(str(tmp_path / "run"), console)
    with run.progress("training", 20) as advance:
        for number in range(20):
            advance(f"[loss] {number}")

    first, *lines = console.file.getvalue().splitlines()
    assert first == f"{tmp_path}/run holds a run already: this one goes to {tmp_path}/run-2."
    assert len(lines) == 10
    assert (lines[0], lines[-1]) == ("training 2 of 20: [loss] 1", "training 20 of 20: [loss] 19")


def test_empty_directory_is_used(tmp_path):
    assert new_run_directory(str(tmp_path)) == tmp_path


def test_file_as_run_directory_raises(tmp_path):
    (tmp_path / "file").write_text("")

    for path in (tmp_path / "file", tmp_path / "file" / "run"):
        with pytest.raises(BadInputError, match="`--out`"):
            new_run_directory(str(path))
