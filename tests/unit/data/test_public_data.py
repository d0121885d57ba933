"""Loaded public datasets: counts, and rows with unusual values."""

from __future__ import annotations

import re
from functools import lru_cache
from pathlib import Path

import pytest

from stepcoder_trl.data.formats import load_problems
from stepcoder_trl.data.problems import Problem
from stepcoder_trl.errors import BadInputError


ROWS = {
    "humaneval.jsonl": 82,
    "mbpp.jsonl": 474,
    "apps_plus_valid.jsonl": 251,
    "apps_plus_train.jsonl": 8,
    "apps_sample.jsonl": 3,
    "apps_test_no_solutions.jsonl": 5,
    "codecontests.jsonl": 145,
    "leetcode_v0.2.0_train.jsonl.gz": 944,
    "leetcode_v0.2.0_test.jsonl": 100,
    "leetcode_v0.3.1_test.jsonl.gz": 112,
}


@lru_cache  # rows of LeetCodeDataset 0.3 have a hundred tests each
def load(data_dir: Path, name: str) -> dict[str, Problem]:
    return {problem.task_id: problem for problem in load_problems(data_dir / name)}


@pytest.mark.parametrize("name", ROWS)
def test_every_row_is_loaded(data_dir, name):
    problems = load(data_dir, name)

    assert len(problems) == ROWS[name]
    assert [Problem.from_row(problem.to_row()) for problem in problems.values()] == list(problems.values())


def test_apps_plus_counts_by_test_form_and_difficulty(data_dir):
    problems = load(data_dir, "apps_plus_valid.jsonl").values()

    assert sum(problem.tests["type"] == "stdio" for problem in problems) == 153
    assert sum(problem.tests["type"] == "call" for problem in problems) == 98
    assert sum(len(problem.tests["inputs"]) for problem in problems) == 647
    words = [problem.difficulty for problem in problems]
    assert [words.count(word) for word in ("interview", "introductory", "competition")] == [101, 100, 50]


def test_apps_plus_prompts_have_no_starter_code_and_no_quotes(data_dir):
    for problem in load(data_dir, "apps_plus_valid.jsonl").values():
        assert isinstance(problem.prompt, str)
        assert '"""' not in problem.prompt
        assert not problem.prompt.startswith(("def ", "class "))


def test_function_name_comes_from_starter_code(data_dir):
    assert load(data_dir, "apps_plus_valid.jsonl")["apps_plus_valid/174"].tests["fn_name"] == "words_to_sentence"


def test_apps_plus_train_keeps_its_ids(data_dir):
    assert list(load(data_dir, "apps_plus_train.jsonl"))[:2] == ["apps_plus_train/0", "apps_plus_train/2"]


def test_apps_has_call_tests_and_stdio_tests(data_dir):
    problems = load(data_dir, "apps_sample.jsonl")

    tests = problems["apps_sample/2404"].tests
    assert (tests["fn_name"], tests["inputs"], tests["outputs"]) == ("findKthPositive", [[[2, 3, 4, 7, 11], 5]], [9])
    assert [problem.difficulty for problem in problems.values()] == ["interview", "competition", "introductory"]
    assert all(problem.canonical_solution for problem in problems.values())


def test_apps_without_solutions_has_no_canonical_solution(data_dir):
    problems = load(data_dir, "apps_test_no_solutions.jsonl")

    assert {problem.canonical_solution for problem in problems.values()} == {""}
    assert list(problems) == [f"apps_test_no_solutions/{number}" for number in (1079, 3040, 4245, 1303, 3177)]


def test_mbpp_setup_and_line_ends(data_dir):
    problems = load(data_dir, "mbpp.jsonl")

    assert [problem.task_id for problem in problems.values() if problem.tests["setup"]] == ["MBPP/927"]
    assert not any("\r" in problem.canonical_solution for problem in problems.values())
    assert all(len(problem.tests["asserts"]) == 3 for problem in problems.values())


def test_humaneval_solutions_begin_with_their_stub(data_dir):
    for problem in load(data_dir, "humaneval.jsonl").values():
        assert problem.canonical_solution.startswith(problem.starter_code)


@pytest.mark.parametrize("name", [name for name in ROWS if name.startswith("leetcode")])
def test_leetcode_difficulty_preamble_and_starter_code(data_dir, name):
    for problem in load(data_dir, name).values():
        assert problem.difficulty in ("introductory", "interview", "competition")
        assert "import *" not in problem.tests["preamble"]
        method = re.search(r"Solution\(\)\.(\w+)", problem.tests["asserts"][0])
        assert method is not None
        assert f"def {method[1]}" in problem.starter_code
        assert "```" not in problem.prompt


@pytest.mark.parametrize(
    ("name", "rows", "tests"),
    [("leetcode_v0.2.0_test.jsonl", 100, 248), ("leetcode_v0.3.1_test.jsonl.gz", 112, 11594)],
)
def test_asserts_of_leetcode_are_tests_of_their_own(data_dir, name, rows, tests):
    problems = load(data_dir, name).values()

    assert len(problems) == rows
    assert sum(len(problem.tests["asserts"]) for problem in problems) == tests


def test_misspelt_difficulty_counts_as_medium(data_dir):
    words = [problem.difficulty for problem in load(data_dir, "leetcode_v0.2.0_test.jsonl").values()]

    assert [words.count(word) for word in ("introductory", "interview", "competition")] == [30, 44, 26]


def test_file_of_generated_solutions_raises(data_dir):
    with pytest.raises(BadInputError, match="gen_solutions, baseline_solutions"):
        load_problems(data_dir / "coderl_gen_solutions.jsonl")
