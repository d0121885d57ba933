from __future__ import annotations

import json
from typing import Any

import pytest

from stepcoder_trl.cli.main import main
from stepcoder_trl.data.formats import FORMAT_TITLES, load_problems, read_raw_rows
from stepcoder_trl.data.problems import Problem
from stepcoder_trl.errors import BadInputError
from tests.unit.data.published_rows import (
    APPS,
    APPS_PLUS,
    CODECONTESTS_REPO,
    EVERY_FORMAT,
    HUMANEVAL,
    LEETCODE_2,
    LEETCODE_3,
    LIVECODEBENCH,
    MBPP,
    MBPP_SANITIZED,
    OURS,
    TACO,
)


def load_one(write_rows, row, **kwargs) -> Problem:
    (problem,) = load_problems(write_rows(row, **kwargs))
    return problem


def without_preamble(problem: Problem) -> dict[str, Any]:
    return {key: value for key, value in problem.tests.items() if key != "preamble"}


# Files


def test_rows_of_own_format_are_loaded(write_rows):
    assert load_one(write_rows, OURS) == Problem.from_row(OURS)


def test_apps_folder_is_loaded(tmp_path):
    for number, fn_name in ((0, None), (12, "inc")):
        folder = tmp_path / "train" / f"{number:04}"
        folder.mkdir(parents=True)
        (folder / "question.txt").write_text("Add one.")
        (folder / "solutions.json").write_text(json.dumps(["x = 1"]))
        tests = (
            {"inputs": [[1]], "outputs": [[2]], "fn_name": fn_name} if fn_name else {"inputs": ["1"], "outputs": ["2"]}
        )
        (folder / "input_output.json").write_text(json.dumps(tests))
        (folder / "metadata.json").write_text(json.dumps({"difficulty": "interview", "url": ""}))
    (tmp_path / "train" / "0012" / "starter_code.py").write_text("def inc(x):\n")

    first, second = load_problems(tmp_path / "train")

    assert (first.task_id, first.tests["type"], first.starter_code) == ("train/0", "stdio", "")
    assert (second.task_id, second.tests["type"], second.starter_code) == ("train/12", "call", "def inc(x):\n")
    assert {first.difficulty, second.difficulty} == {"interview"}


# Formats


@pytest.mark.parametrize("name", EVERY_FORMAT)
def test_recognised_format_equals_named_format(write_rows, name):
    path = write_rows(EVERY_FORMAT[name].row)

    assert load_problems(path) == load_problems(path, format=name)


@pytest.mark.parametrize("name", EVERY_FORMAT)
def test_problem_of_any_format_can_be_written_and_loaded_again(write_rows, name):
    problem = load_one(write_rows, EVERY_FORMAT[name].row)

    assert load_one(write_rows, problem.to_row(), name="ours.jsonl") == problem


def test_prompts_end_with_newline(write_rows):
    rows = [example.row for name, example in EVERY_FORMAT.items() if name not in ("stepcoder", "verl")]

    prompts = [load_one(write_rows, row).prompt for row in rows]

    assert all(isinstance(prompt, str) and prompt.endswith("\n") for prompt in prompts)


def test_apps_plus_with_standard_input(write_rows):
    problem = load_one(write_rows, APPS_PLUS, name="plus.jsonl")

    assert problem.task_id == "plus/1"
    assert problem.prompt == '"Duel!"\n\nIs $n \\neq 0$?\n'
    assert problem.starter_code == "\ndef AbCdE():\n"
    assert without_preamble(problem) == {"type": "stdio", "inputs": ["1\n"], "outputs": ["1\n"], "fn_name": "AbCdE"}
    assert problem.difficulty == "competition"


def test_task_id_of_apps_plus_uses_id_if_present(write_rows):
    assert load_one(write_rows, {**APPS_PLUS, "id": 14}, name="train.jsonl").task_id == "train/14"


def test_strings_of_apps_plus_calls_are_unquoted(write_rows):
    row = {
        **APPS_PLUS,
        "starter_code": "\nclass Solution:\n    def join(self, a: str, b: List[str]) -> str:\n",
        "inputs": [['"a\\"b"', ["c"], {"k": "v"}, None], ["'x'", [], {}, True]],
        "outputs": [['"ab"'], [["x"]]],
    }

    assert without_preamble(load_one(write_rows, row)) == {
        "type": "call",
        "fn_name": "join",
        "inputs": [['a"b', ["c"], {"k": "v"}, None], ["x", [], {}, True]],
        "outputs": ["ab", ["x"]],
    }


def test_apps_plus_values_may_be_json(write_rows):
    row = {**APPS_PLUS, "inputs": [["true", "null"]], "outputs": [["1"]]}

    assert load_one(write_rows, row).tests["inputs"] == [[True, None]]


def test_apps_plus_starter_code_ends_before_main_block(write_rows):
    starter_code = '\ndef AbCdE(x):\n\nif __name__ == "__main__":\n    def main():\n        pass\n'
    prompt = f'{starter_code}    """Add."""\n'
    row = {**APPS_PLUS, "starter_code": starter_code, "prompt": prompt, "inputs": [[1]], "outputs": [[2]]}

    problem = load_one(write_rows, row)

    assert problem.starter_code == "\ndef AbCdE(x):\n\n"
    assert problem.tests["fn_name"] == "AbCdE"
    assert problem.prompt == "Add.\n"


def test_canonical_solution_of_apps_is_first_in_python_3(write_rows):
    problem = load_one(write_rows, APPS)

    assert problem.task_id == "rows/7"
    assert problem.canonical_solution == "print(input())"
    assert without_preamble(problem) == {"type": "stdio", "inputs": ["1\n"], "outputs": ["1\n"]}


@pytest.mark.parametrize("solutions", [None, "", "[]", '["print 1"]'])
def test_apps_without_valid_solution_has_no_canonical_solution(write_rows, solutions):
    assert load_one(write_rows, {**APPS, "solutions": solutions}).canonical_solution == ""


def test_lists_of_lines_in_apps_are_joined(write_rows):
    tests = json.dumps({"inputs": [["1", "2"]], "outputs": [["3"]]})

    assert without_preamble(load_one(write_rows, {**APPS, "input_output": tests})) == {
        "type": "stdio",
        "inputs": ["1\n2"],
        "outputs": ["3"],
    }


@pytest.mark.parametrize(
    ("starter_code", "given", "loaded"),
    [
        ("def f(x):\n", ([[1], [2]], [[3], [[4]]]), ([[1], [2]], [3, [4]])),  # wrapped: one entry each
        ("def f(x):\n", ([[1], [2]], [[3, 4], [5]]), ([[1], [2]], [[3, 4], [5]])),  # lists that are returned
        ("class Solution:\n    def f(self, x):\n", ([[1]], [[3]]), ([[1]], [[3]])),  # LeetCode: never wrapped
        ("class Solution:\n    def f(self, x):\n", ([['"a"', 1]], ['"b"']), ([["a", 1]], ["b"])),
        ("class Solution:\n    def f(self, x):\n", ([['"a"', "a"]], ['"b"']), ([['"a"', "a"]], ['"b"'])),
    ],
)
def test_apps_calls_are_loaded_by_conventions_of_source(write_rows, starter_code, given, loaded):
    tests = json.dumps({"fn_name": "f", "inputs": given[0], "outputs": given[1]})

    problem = load_one(write_rows, {**APPS, "starter_code": starter_code, "input_output": tests})

    assert (problem.tests["inputs"], problem.tests["outputs"]) == loaded


def test_mbpp_prompt_shows_asserts_and_line_ends_are_those_of_python(write_rows):
    problem = load_one(write_rows, MBPP)

    assert problem == Problem(
        task_id="MBPP/3",
        prompt=(
            "Write a function to add one.\nYour code should pass these tests:\n\n"
            "assert inc(1) == 2\nassert inc(2) == 3\n"
        ),
        canonical_solution="def inc(x):\n\treturn x + 1\n",
        tests={"type": "assert", "setup": "", "asserts": ["assert inc(1) == 2", "assert inc(2) == 3"]},
    )


def test_mbpp_setup_code_becomes_setup_of_tests(write_rows):
    problem = load_one(write_rows, {**MBPP, "test_setup_code": "root = Node(1) \r\n"})

    assert problem.tests["setup"] == "root = Node(1) \n"
    assert "\n\nroot = Node(1)\nassert inc(1) == 2\n" in problem.prompt


def test_mbpp_sanitized_imports_become_setup_of_tests(write_rows):
    problem = load_one(write_rows, MBPP_SANITIZED)

    assert problem.task_id == "MBPP/82"
    assert problem.tests == {"type": "assert", "setup": "import math", "asserts": MBPP_SANITIZED["test_list"]}


def test_humaneval_stub_becomes_starter_code(write_rows):
    problem = load_one(write_rows, HUMANEVAL)

    assert problem.starter_code == HUMANEVAL["prompt"]
    assert problem.canonical_solution == HUMANEVAL["prompt"] + "    return x + 1\n"
    assert problem.tests == {"type": "assert", "setup": HUMANEVAL["test"], "asserts": ["check(inc)"]}
    assert "`inc`" in problem.prompt


@pytest.mark.parametrize(
    ("row", "difficulty", "starter_code"),
    [
        (LEETCODE_2, "interview", "class Solution:\n    def inc(self, x: int) -> int:"),
        (LEETCODE_3, "competition", "class Solution:\n    def inc(self, x: int) -> int:\n        "),
    ],
)
def test_both_leetcode_versions_are_loaded(write_rows, row, difficulty, starter_code):
    problem = load_one(write_rows, row)

    assert problem.prompt == "Add one.\n\nExample 1: 1 gives 2.\n"
    assert (problem.difficulty, problem.starter_code) == (difficulty, starter_code)
    assert problem.canonical_solution == LEETCODE_2["completion"]
    assert without_preamble(problem) == {
        "type": "assert",
        "setup": "",
        "asserts": ["assert Solution().inc(x = 1) == 2", "assert Solution().inc(x=7) == 8"],
    }


def test_leetcode_without_meta_uses_query(write_rows):
    problem = load_one(write_rows, {key: value for key, value in LEETCODE_2.items() if key != "meta"})

    assert (problem.prompt, problem.starter_code) == ("Add one.\n", "class Solution:\n    ...\n")
    assert problem.difficulty is None


@pytest.mark.parametrize(
    ("given", "read"), [("Extreme", "Extreme"), ("EASY", "introductory"), ("", None), (None, None)]
)
@pytest.mark.parametrize("row", [APPS_PLUS, APPS, TACO, LEETCODE_3, LIVECODEBENCH], ids=lambda row: str(len(row)))
def test_difficulty_of_published_rows_is_any_text(write_rows, row, given, read):
    assert load_one(write_rows, {**row, "difficulty": given}).difficulty == read


def test_codecontests_prompt_is_the_description(write_rows):
    problem = load_one(write_rows, CODECONTESTS_REPO)

    assert problem.task_id == "1_a_add_one"
    assert problem.prompt == "Add one.\n\nExamples\n\nInput\n\n1\n"
    assert problem.tests == {"type": "stdio", "inputs": ["1\n"], "outputs": ["2\n"]}


def test_raw_rows_have_all_solutions_of_apps_and_one_of_other_formats(write_rows):
    (apps,) = read_raw_rows(write_rows({**APPS, "solutions": json.dumps(["x = 1", " ", "x = 2", "x = 1"])}))
    (leetcode,) = read_raw_rows(write_rows({**LEETCODE_2, "solutions": json.dumps(["x = 1"])}))

    assert apps.solutions == ("x = 1", "x = 2")
    assert leetcode.solutions == (LEETCODE_2["completion"],)


def test_row_with_field_tests_has_own_format(write_rows):
    assert load_one(write_rows, {**MBPP, **OURS}).task_id == "a"


@pytest.mark.parametrize("end", ["\r\n", "\r", "\n"])
def test_line_ends_of_prompts_and_code_are_those_of_python(write_rows, end):
    row = {
        **HUMANEVAL,
        "prompt": HUMANEVAL["prompt"].replace("\n", end),
        "canonical_solution": f"    y = x{end}    return y + 1{end}",
        "test": HUMANEVAL["test"].replace("\n", end),
    }

    problem = load_one(write_rows, row)

    assert problem.canonical_solution == HUMANEVAL["prompt"] + "    y = x\n    return y + 1\n"
    assert problem.starter_code == HUMANEVAL["prompt"]
    assert problem.tests["setup"] == HUMANEVAL["test"]


def test_line_ends_of_inputs_and_own_rows_stay(write_rows):
    assert load_one(write_rows, {**CODECONTESTS_REPO, "inputs": ["1\r\n"]}).tests["inputs"] == ["1\r\n"]
    assert load_one(write_rows, {**OURS, "prompt": "a\r\nb"}).prompt == "a\r\nb"


# Lists of formats


@pytest.mark.parametrize("verb", ["refine", "overlap", "sft"])
def test_help_lists_the_formats(verb, capsys):
    with pytest.raises(SystemExit):
        main([verb, "--help"])

    assert "".join(FORMAT_TITLES.split()) in "".join(capsys.readouterr().out.split())


# Errors


@pytest.mark.parametrize(
    ("row", "parts"),
    [
        ({"question": 1, "answer": 2}, ["question, answer", "`apps` also needs id|problem_id, input_output"]),
        ({}, ["none", "`stepcoder` also needs tests"]),
        ({"task_id": "a", "prompt": "p", "test": "t"}, ["Rename `test` to `tests` if this is a row of your own."]),
        ({"id": "a", "Prompt": "p", "Tests": "t"}, ["Rename `Tests` to `tests` if this is a row of your own."]),
    ],
)
def test_error_for_unknown_fields_names_the_closest_formats(write_rows, row, parts):
    with pytest.raises(BadInputError) as error:
        load_problems(write_rows(row))

    assert "rows.jsonl:1: " in str(error.value)
    assert [part for part in parts if part not in str(error.value)] == []


def test_folder_that_is_not_apps_raises(tmp_path):
    with pytest.raises(BadInputError, match=r"question\.txt"):
        load_problems(tmp_path)


def test_unknown_format_name_raises(write_rows):
    with pytest.raises(BadInputError, match=r"`format` is 'csv' \(str\), but must be one of .*\"apps_plus\""):
        load_problems(write_rows(OURS), format="csv")


def test_error_for_duplicate_names_both_rows(write_rows):
    with pytest.raises(BadInputError, match=r"rows.jsonl:3: `task_id` 'a' \(str\) is already used by .*rows.jsonl:1"):
        load_problems(write_rows(OURS, {**OURS, "task_id": "b"}, OURS))


def test_error_for_mixed_formats_names_missing_field(write_rows):
    with pytest.raises(BadInputError, match=r"rows.jsonl:2: field `text` is missing, which the format `mbpp` needs"):
        load_problems(write_rows(MBPP, HUMANEVAL))


def test_integers_in_tests_may_have_any_length(write_rows):
    tests = '{"type": "call", "fn_name": "f", "inputs": [[1]], "outputs": [' + "9" * 5000 + "]}"

    assert load_one(write_rows, {**OURS, "tests": tests}).tests["outputs"] == [10**5000 - 1]


@pytest.mark.parametrize(
    ("row", "parts"),
    [
        ({**OURS, "tests": {"type": "io"}}, ["`tests.type` is 'io'"]),
        ({**APPS_PLUS, "prompt": 1}, ["`prompt` is 1 (int)"]),
        ({**APPS_PLUS, "starter_code": "x = 1\n"}, ["`starter_code` is 'x = 1", "`def NAME(...):`"]),
        ({**APPS_PLUS, "inputs": [], "outputs": []}, ["`tests.inputs` is empty"]),
        ({**APPS_PLUS, "inputs": ["1\n", [1]]}, ["`inputs[0]` is '1\\n' (str)", "lists of arguments"]),
        (
            {**APPS_PLUS, "inputs": [["abc"]], "outputs": [[1]]},
            ["`inputs[0][0]` is 'abc' (str)", "quotes of their own"],
        ),
        ({**APPS_PLUS, "inputs": [[1]], "outputs": [[1, 2]]}, ["`outputs[0]` has 2 entries", "Wrap"]),
        ({**APPS_PLUS, "inputs": [[1]], "outputs": [1]}, ["`outputs[0]` is 1 (int)"]),
        ({**APPS_PLUS, "inputs": {"a": 1}}, ["`inputs` is {'a': 1} (dict)", "list"]),
        ({**APPS_PLUS, "difficulty": 3}, ["`difficulty` is 3 (int)", "Write it as text"]),
        ({**APPS, "input_output": ""}, ["`input_output` holds no tests", "Drop the row"]),
        ({**APPS, "input_output": "{"}, ["`input_output` is not valid JSON", "column 2"]),
        ({**APPS, "input_output": {"inputs": ["1"]}}, ["lists `inputs` and `outputs`"]),
        ({**APPS, "solutions": "{}"}, ["`solutions` is {} (dict)"]),
        ({**APPS, "problem_id": None}, ["`problem_id` is None"]),
        ({**MBPP, "test_list": "assert 1"}, ["`test_list` is 'assert 1' (str)", "list of str"]),
        ({**MBPP, "test_list": []}, ["`tests.asserts` is empty"]),
        ({**MBPP, "code": None}, ["`code` is None", "must be a str"]),
        ({**HUMANEVAL, "test": "assert inc(1) == 2"}, ["`test` is", "`check(candidate)`"]),
        ({**HUMANEVAL, "entry_point": "in c"}, ["`tests.asserts[0]` is 'check(in c)'"]),
        ({**LEETCODE_2, "prompt": "a b"}, ["`tests.preamble`", "must be Python"]),
        ({**CODECONTESTS_REPO, "outputs": []}, ["`tests.outputs` is empty"]),
    ],
)
def test_error_names_row_field_and_fix(write_rows, row, parts):
    with pytest.raises(BadInputError) as error:
        load_problems(write_rows(row))

    assert "rows.jsonl:1: " in str(error.value)
    assert [part for part in parts if part not in str(error.value)] == []
