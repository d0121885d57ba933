"""The verbs `check` and `overlap` read problems of every format."""

from __future__ import annotations

import json

import pytest

from stepcoder_trl.cli.main import main
from tests.unit.data.published_rows import EVERY_FORMAT


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Return a file of one row for each format."""
    folder = tmp_path_factory.mktemp("formats")
    for name, example in EVERY_FORMAT.items():
        (folder / f"{name}.jsonl").write_text(json.dumps(example.row) + "\n", encoding="utf-8")
    return sorted(map(str, folder.iterdir()))


def run(*arguments):
    with pytest.raises(SystemExit) as ended:
        main(list(map(str, arguments)))
    return ended.value.code


@pytest.mark.sandbox
def test_check_reads_every_format(files, capsys):
    assert run("check", *files, "--workers", 1) in (0, 1)  # 1: some have no solution

    printed = capsys.readouterr()
    assert f"{len(files)} problems" in printed.out + printed.err
    assert len(files) == len(EVERY_FORMAT)


@pytest.mark.parametrize("name", EVERY_FORMAT)
def test_overlap_reads_every_format(files, name, capsys):
    path = next(file for file in files if file.endswith(f"/{name}.jsonl"))

    status, printed = run("overlap", path, "--train", path), capsys.readouterr()

    if EVERY_FORMAT[name].solution is None:
        assert status == 0
        assert printed.out
    else:  # the dataset has no solutions to compare
        assert status == 2
        assert "no solution has a counted line" in printed.err
