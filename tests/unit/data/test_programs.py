"""Test rows of programs and of solutions, which may be problems."""

from __future__ import annotations

import json

import pytest

from stepcoder_trl import BadInputError
from stepcoder_trl.data.formats import LeftOut
from stepcoder_trl.data.programs import read_programs, read_solutions


TESTS = {"type": "stdio", "inputs": ["1"], "outputs": ["2"]}
OWN = {"id": 1, "prompt": "p", "canonical_solution": "print(2)", "tests": TESTS}
MBPP = {"task_id": 7, "text": "Add.", "code": "def f():\n    return 1\n", "test_list": ["assert f() == 1"]}


def write(path, *rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_problem_without_program_runs_its_solution(tmp_path):
    path = write(tmp_path / "p.jsonl", OWN, {"task_id": "b", "program": "", "tests": TESTS}, MBPP)

    assert [(row.id, row.program) for row in read_programs(path)] == [
        (1, "print(2)"),
        ("b", ""),
        ("MBPP/7", MBPP["code"]),
    ]


def test_solutions_are_read_from_problems(tmp_path):
    path = write(tmp_path / "p.jsonl", OWN, {"task_id": "b", "canonical_solution": "x"}, MBPP)

    assert [(row.id, row.canonical_solution) for row in read_solutions(path)] == [
        (1, "print(2)"),
        ("b", "x"),
        ("MBPP/7", MBPP["code"]),
    ]


def test_rows_of_no_use_are_counted(tmp_path, monkeypatch):
    def skipped(row):
        raise LeftOut(row.where, "is in C++", "Only Python is run.")

    monkeypatch.setattr(
        "stepcoder_trl.data.programs._published_problem", lambda row: skipped(row) if row.number == 2 else None
    )
    path = write(tmp_path / "p.jsonl", OWN, MBPP)

    with pytest.warns(UserWarning, match=r"1 rows are left out, such as one that is in C\+\+"):
        assert [row.id for row in read_programs(path)] == [1]


def test_problems_without_a_solution_are_left_out_and_counted(tmp_path):
    unsolved = {"id": 2, "prompt": "p", "tests": TESTS}
    path = write(tmp_path / "p.jsonl", OWN, unsolved, {**unsolved, "canonical_solution": None})

    with pytest.warns(UserWarning, match="2 rows are left out, such as one that has no `canonical_solution`"):
        assert [row.id for row in read_programs(path)] == [1]
    with pytest.warns(UserWarning, match="2 rows are left out, such as one that has no `canonical_solution`"):
        assert [row.id for row in read_solutions(path)] == [1]
    with pytest.raises(BadInputError, match=r"p\.jsonl:1: field `program` is None"):
        read_programs(write(tmp_path / "p.jsonl", {**unsolved, "program": None}))


def test_row_without_id_names_both_fields(tmp_path):
    with pytest.raises(BadInputError, match=r"p\.jsonl:1: field `id` is missing, and so is `task_id`"):
        read_programs(write(tmp_path / "p.jsonl", {"program": "", "tests": TESTS}))


def test_column_that_probably_holds_the_solution_is_named(tmp_path):
    row = {"task_id": "a", "prompt": "p", "tests": TESTS, "cannonical_solution": "print(1)"}
    path = tmp_path / "problems.jsonl"
    path.write_text(json.dumps(row))

    with pytest.raises(BadInputError, match=r"`cannonical_solution` is not read\. Did you mean `canonical_solution`"):
        read_programs(str(path))
