from __future__ import annotations

import json

import pytest

from stepcoder_trl.cli.main import main


def write_problems(path, solutions):
    tests = {"type": "stdio", "inputs": [""], "outputs": [""]}
    rows = [
        {"task_id": f"{path.stem}/{number}", "prompt": "p", "tests": tests, "canonical_solution": solution}
        for number, solution in enumerate(solutions)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def run(*arguments):
    with pytest.raises(SystemExit) as ended:
        main(["overlap", *arguments])
    return ended.value.code


@pytest.fixture
def files(tmp_path):
    benchmark = write_problems(tmp_path / "benchmark.jsonl", ["a = 1\nreturn x", "b = 2\nreturn x", "return x", ""])
    train = write_problems(tmp_path / "train.jsonl", ["  a = 1\n  c = 3\n  return x"])
    return benchmark, train


def read(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_shares_are_written_in_both_directions(tmp_path, files, capsys):
    benchmark, train = files
    out, other, summary = tmp_path / "out.jsonl", tmp_path / "other.jsonl", tmp_path / "summary.json"

    assert (
        run(benchmark, "--train", train, "--out", str(out), "--train-out", str(other), "--summary", str(summary)) == 0
    )

    assert read(out) == [
        {"id": "benchmark/0", "share": 1.0, "lines": 1, "duplicated": 1},
        {"id": "benchmark/1", "share": 0.0, "lines": 1, "duplicated": 0},
        {"id": "benchmark/2", "share": None, "lines": 0, "duplicated": 0},
        {"id": "benchmark/3", "share": None, "lines": 0, "duplicated": 0},
    ]
    assert read(other) == [{"id": "train/0", "share": 0.5, "lines": 2, "duplicated": 1}]
    figures = json.loads(summary.read_text())
    assert figures["benchmark"]["histogram"]["0.9-1.0"] == 1
    assert figures["benchmark"]["over_half"] == 1
    assert "1 problems (50.0%)" in capsys.readouterr().err


def test_default_output_is_standard_output(files, capsys):
    benchmark, train = files

    assert run(benchmark, "--train", train) == 0

    assert [json.loads(line)["share"] for line in capsys.readouterr().out.splitlines()] == [1.0, 0.0, None, None]


def test_histogram_is_written(tmp_path, files):
    pytest.importorskip("matplotlib")
    benchmark, train = files

    assert (
        run(benchmark, "--train", train, train, "--out", str(tmp_path / "o"), "--histogram", str(tmp_path / "h.png"))
        == 0
    )

    assert (tmp_path / "h.png").read_bytes().startswith(b"\x89PNG")


def test_benchmark_without_solutions_is_bad_input(tmp_path, files, capsys):
    empty = write_problems(tmp_path / "empty.jsonl", ["", ""])

    assert run(empty, "--train", files[1]) == 2

    assert "empty.jsonl: no solution has a counted line" in capsys.readouterr().err
