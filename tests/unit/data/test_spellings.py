"""Rows of published formats in other spellings of the same values."""

from __future__ import annotations

import datetime
import json
import warnings

import pytest

from stepcoder_trl.data.formats import load_problems
from stepcoder_trl.data.formats.loading import load_each
from stepcoder_trl.data.formats.trainers import verl_row
from stepcoder_trl.data.problems import Problem
from stepcoder_trl.errors import BadInputError
from tests.unit.data.published_rows import (
    ACECODE,
    APPS_PLUS,
    CODECONTESTS,
    CODEFORCES,
    DEEPCODER,
    EVALPLUS,
    LEETCODE_2,
    LIVECODEBENCH,
    MBPP,
    MBPP_SANITIZED,
    TACO,
    VERL,
)


def _verl(**truth):
    return {**VERL, "reward_model": {"style": "rule", "ground_truth": json.dumps(truth)}}


# Calls as text, as verl's rewards read them: JSON on each line, JSON as the result


@pytest.mark.parametrize(
    ("inputs", "outputs", "arguments", "results"),
    [
        (["1", "2"], ["2", "3"], [[1], [2]], [2, 3]),
        (["1\n[2, 3]", '"a\\nb"\nnull\n'], ["[3]", '["x"]'], [[1, [2, 3]], ["a\nb", None]], [3, "x"]),
        (["", "1.5\r\ntrue"], ["[[1]]", "[[]]"], [[], [1.5, True]], [[1], []]),
        (["9" * 5000], ['{"1": 2}'], [[int("9" * 4000) * 10**1000 + int("9" * 1000)]], [{"1": 2}]),
    ],
)
def test_calls_of_verl_may_be_text(write_rows, inputs, outputs, arguments, results):
    (problem,) = load_problems(write_rows(_verl(fn_name="inc", inputs=inputs, outputs=outputs)))

    assert problem.tests["type"] == "call"
    assert problem.tests["inputs"] == arguments
    assert problem.tests["outputs"] == results


@pytest.mark.parametrize("name", ["deepcoder", "taco"])
def test_calls_as_text_are_read_in_other_formats(write_rows, name):
    tests = json.dumps({"fn_name": "inc", "inputs": ["1", "2"], "outputs": ["2", "3"]})
    row = {"deepcoder": {**DEEPCODER, "tests": tests}, "taco": {**TACO, "input_output": tests}}[name]

    (problem,) = load_problems(write_rows(row))

    assert (problem.tests["inputs"], problem.tests["outputs"]) == ([[1], [2]], [2, 3])


@pytest.mark.parametrize(("inputs", "outputs"), [(["a b"], ["2"]), (["1"], ["two"]), (["1", [2]], ["2", "3"])])
def test_calls_as_text_that_is_not_json_are_refused(write_rows, inputs, outputs):
    with pytest.raises(BadInputError, match=r"`tests.inputs\[0\]` is '.*' \(str\), but must be a list of arguments"):
        load_problems(write_rows(_verl(fn_name="inc", inputs=inputs, outputs=outputs)))


def test_calls_are_written_as_the_rewards_of_verl_read_them(write_rows):
    tests = {"type": "call", "fn_name": "f", "inputs": [[1, "a\nb"], [[2], {"k": None}]], "outputs": ["x", [3]]}
    row = verl_row(Problem("a", "p", tests=tests), 0)

    truth = json.loads(row["reward_model"]["ground_truth"])
    (again,) = load_problems(write_rows(row))

    for arguments, text, value, result in zip(
        tests["inputs"], truth["inputs"], tests["outputs"], truth["outputs"], strict=True
    ):
        assert [json.loads(line) for line in text.split("\n")] == arguments
        assert json.loads(result)[0] == value  # verl accepts the first entry of a list
    assert {name: again.tests[name] for name in tests} == tests


# Files of one name, as in a dataset with a folder for each configuration


@pytest.mark.parametrize("row", [DEEPCODER, VERL, APPS_PLUS], ids=["deepcoder", "verl", "apps_plus"])
def test_files_of_one_name_in_a_folder_give_different_ids(tmp_path, row):
    for part in ("lcb", "taco/extra"):
        (tmp_path / part).mkdir(parents=True)
        (tmp_path / part / "train.jsonl").write_text(json.dumps(row), encoding="utf-8")
    (tmp_path / "taco" / "test.jsonl").write_text(json.dumps(row), encoding="utf-8")

    problems = load_problems(tmp_path)

    assert [problem.task_id for problem in problems] == ["lcb/train/1", "taco/extra/train/1", "test/1"]


# JSON text in place of lists and objects


@pytest.mark.parametrize(
    ("row", "field"),
    [
        (APPS_PLUS, "inputs"),
        (EVALPLUS, "base_input"),
        (MBPP, "test_list"),
        (MBPP_SANITIZED, "test_imports"),
        (LEETCODE_2, "input_output"),
        (LEETCODE_2, "meta"),
        (ACECODE, "inferences"),
        (VERL, "prompt"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_lists_and_objects_may_be_json_text(write_rows, row, field):
    (as_object,) = load_problems(write_rows(row))
    (as_text,) = load_problems(write_rows({**row, field: json.dumps(row[field])}))

    assert as_text.to_row() == as_object.to_row()


@pytest.mark.parametrize("prompt", ["[1, 2] is a list. Add one.", "[1, 2]", '["a"]', "[{"])
def test_prompt_that_only_looks_like_messages_is_text(write_rows, prompt):
    (problem,) = load_problems(write_rows({**VERL, "prompt": prompt}))

    assert problem.prompt == f"{prompt}\n"


def test_objects_may_be_an_object_of_lists(write_rows):
    inferences = {name: [entry[name] for entry in ACECODE["inferences"]] for name in ACECODE["inferences"][0]}

    (problem,) = load_problems(write_rows({**ACECODE, "inferences": inferences}))

    assert problem.canonical_solution == load_problems(write_rows(ACECODE))[0].canonical_solution


# Numbers


@pytest.mark.parametrize(
    ("row", "field", "value", "found"),
    [
        (CODECONTESTS, "memory_limit_bytes", 256e6, 256_000_000),
        (CODECONTESTS, "memory_limit_bytes", float("nan"), None),
        (CODECONTESTS, "memory_limit_bytes", float("inf"), None),
        (CODEFORCES, "memory_limit", 256, 2**28),
        (CODEFORCES, "memory_limit", float("inf"), None),
    ],
)
def test_limit_of_memory_may_be_a_float(write_rows, row, field, value, found):
    (problem,) = load_problems(write_rows({**row, field: value}))

    assert problem.tests.get("memory_limit_bytes") == found


# Dates


@pytest.mark.parametrize("value", [datetime.datetime(2024, 5, 31, 23), datetime.date(2024, 5, 31)])
def test_date_may_be_a_point_in_time(tmp_path, value):
    pyarrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    path = tmp_path / "rows.parquet"
    parquet.write_table(pyarrow.Table.from_pylist([{**LIVECODEBENCH, "contest_date": value}]), path)

    assert len(load_problems(path, since="2024-05-31", until="2024-05-31")) == 1
    with pytest.raises(BadInputError, match="It has 2024-05-31 to 2024-05-31"):
        load_problems(path, since="2024-06-01")


@pytest.mark.parametrize("order", [1, -1])
def test_file_without_dates_is_taken_whole_beside_one_with_dates(write_rows, order):
    late = {**LIVECODEBENCH, "question_id": "late", "contest_date": "2024-07-01"}
    paths = [write_rows(LIVECODEBENCH, late, name="lcb.jsonl"), write_rows(MBPP, name="mbpp.jsonl")][::order]

    with pytest.warns(UserWarning, match=r"mbpp: the format `mbpp` gives no dates. All of its problems are taken"):
        problems = load_problems(paths, since="2024-06-01")
    with pytest.warns(UserWarning, match="gives no dates"):
        each = load_each(paths, since="2024-06-01")

    assert {problem.task_id for problem in problems} == {"late", "MBPP/3"}
    assert [[problem.task_id for problem in found] for found, _ in each] == [["late"], ["MBPP/3"]][::order]


def test_window_needs_one_file_with_dates(write_rows):
    paths = [write_rows(MBPP, name="a.jsonl"), write_rows(ACECODE, name="b.jsonl")]

    with pytest.raises(BadInputError, match=r"a: the format `mbpp` gives no dates. Leave out `since`"):
        load_problems(paths, until="2024-06-01")


def test_files_need_no_dates_without_a_window(write_rows):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(load_problems([write_rows(MBPP, name="a.jsonl"), write_rows(LIVECODEBENCH, name="b.jsonl")])) == 2
