"""Questions of a newcomer, and the rows that the documentation shows."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from stepcoder_trl import CodeExecutor, Outcome, load_problems


DOCS = Path(__file__).parents[3] / "docs"


def test_start_answers_ten_questions_with_one_link_each():
    page = (DOCS / "index.md").read_text(encoding="utf-8")

    rows = re.findall(r"^\| (.+\?.*) \| (.*) \|$", page, re.MULTILINE)
    assert len(rows) >= 10
    assert all(len(re.findall(r"\]\([^)]+\)", answer)) == 1 for _, answer in rows)


@pytest.mark.sandbox
def test_rows_of_every_form_are_read_and_pass(tmp_path):
    (rows,) = re.findall(r"^```json\n(.*?)^```", (DOCS / "data.md").read_text(encoding="utf-8"), re.M | re.S)
    path = tmp_path / "mine.jsonl"
    path.write_text(rows, encoding="utf-8")
    kinds = [json.loads(row)["tests"]["type"] for row in rows.splitlines()]

    problems = load_problems(str(path))
    with CodeExecutor() as executor:
        found = executor.run_many([one.canonical_solution for one in problems], [one.tests for one in problems])

    assert kinds == ["stdio", "call", "assert", "unittest", "checker"]
    assert [execution.outcome for execution in found] == [Outcome.PASSED] * 5
