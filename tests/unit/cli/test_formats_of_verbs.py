"""All verbs that take problems read every format."""

from __future__ import annotations

import json

import pytest

from stepcoder_trl.cli.main import main
from stepcoder_trl.curriculum import CurriculumConfig
from stepcoder_trl.data.formats import load_problems
from stepcoder_trl.executor.choice import ExecutorChoice
from stepcoder_trl.steps.queries import Query
from stepcoder_trl.steps.rows import as_rows, read_dataset
from stepcoder_trl.trainer.training_set import TrainingSet
from tests.unit.data.published_rows import EVERY_FORMAT


WITHOUT_SOLUTION = [name for name, example in EVERY_FORMAT.items() if example.solution is not None]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Return a folder with a file of one row for each format."""
    folder = tmp_path_factory.mktemp("formats")
    for name, example in EVERY_FORMAT.items():
        row = {**example.row, "prompt": "Add one."} if name == "verl" else example.row  # all prompts are text
        (folder / f"{name}.jsonl").write_text(json.dumps(row) + "\n", encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def files(folder):
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
def test_overlap_reads_every_format(folder, name, capsys):
    path = folder / f"{name}.jsonl"

    status, printed = run("overlap", path, "--train", path), capsys.readouterr()

    if name not in WITHOUT_SOLUTION:
        assert status == 0
        assert printed.out
    else:  # the dataset has no solutions to compare
        assert status == 2
        assert "no solution has a counted line" in printed.err


@pytest.mark.sandbox
def test_evaluate_reads_every_format(folder, files, tmp_path):
    samples, expected = [], []
    for path in files:
        (problem,) = load_problems(path)
        example = EVERY_FORMAT[path.removeprefix(f"{folder}/").removesuffix(".jsonl")]
        right = problem.canonical_solution if example.solution is None else example.solution
        samples += [{"task_id": problem.task_id, "program": program} for program in (right, example.wrong)]
        expected += ["passed", "failed"]
    (tmp_path / "samples.jsonl").write_text("".join(json.dumps(row) + "\n" for row in samples), encoding="utf-8")

    given = ("--samples", tmp_path / "samples.jsonl", "--out", tmp_path / "out", "--workers", 1)
    assert run("evaluate", "--problems", *files, *given) == 0

    rows = [json.loads(line) for line in (tmp_path / "out" / "results.jsonl").read_text().splitlines()]
    assert [row["outcome"] for row in rows] == expected


@pytest.mark.sandbox
@pytest.mark.parametrize(("verb", "is_traced"), [("check", False), ("evaluate", False), ("execute", True)])
def test_lines_are_traced_only_where_a_verb_reads_them(folder, tmp_path, monkeypatch, verb, is_traced):
    configs = []
    open_executor = ExecutorChoice.open
    monkeypatch.setattr(ExecutorChoice, "open", lambda choice: configs.append(choice.config) or open_executor(choice))
    path = folder / "stepcoder.jsonl"
    samples = tmp_path / "samples.jsonl"
    samples.write_text(json.dumps({"task_id": "a", "program": EVERY_FORMAT["stepcoder"].row["canonical_solution"]}))
    given = {"evaluate": ("--problems", path, "--samples", samples, "--out", tmp_path / "out")}

    assert run(verb, *given.get(verb, (path,)), "--workers", 1) == 0

    assert [config.trace for config in configs] == [is_traced]


@pytest.mark.sandbox
def test_refine_reads_every_format(folder, tmp_path):
    assert run("refine", folder, "--out", tmp_path / "out", "--runs", 1, "--workers", 1) == 0

    log = [json.loads(line) for line in (tmp_path / "out" / "log.jsonl").read_text().splitlines()]
    kept = [json.loads(line)["task_id"] for line in (tmp_path / "out" / "problems.jsonl").read_text().splitlines()]
    dropped = {entry["task_id"]: entry["rule"] for entry in log if entry["action"] == "drop"}
    assert len(kept) + len(dropped) == len(EVERY_FORMAT)
    assert set(dropped.values()) == {"no_solution", "duplicate"}  # some rows are about the same problem


@pytest.mark.parametrize("name", EVERY_FORMAT)
def test_training_reads_every_format(folder, name):
    rows = as_rows(read_dataset([str(folder / f"{name}.jsonl")]))

    training_set = TrainingSet(rows, CurriculumConfig(), lambda row, prefix: Query("", prefix, (1,)), limit=10.0)

    assert training_set.rows == rows
    assert training_set.has_tests
    assert (rows[0].canonical_solution == "") == (name in WITHOUT_SOLUTION)
