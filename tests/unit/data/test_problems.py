from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stepcoder_trl.data.problems import Problem
from stepcoder_trl.errors import BadInputError


TESTS = {"type": "stdio", "inputs": ["1\n"], "outputs": ["2\n"]}
ROW = {"task_id": "a", "prompt": "Add one.", "tests": TESTS}


def texts() -> st.SearchStrategy[str]:
    return st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


def json_values() -> st.SearchStrategy[Any]:
    leaves = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | texts()
    return st.recursive(
        leaves, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts(), inner, max_size=3)
    )


@st.composite
def valid_tests(draw: st.DrawFn) -> dict[str, Any]:
    """Return valid tests of one of the forms."""
    count = draw(st.integers(1, 3))

    def per_test(values: st.SearchStrategy[Any]) -> list[Any]:
        return draw(st.lists(values, min_size=count, max_size=count))

    tests = draw(
        st.sampled_from(
            [
                {"type": "stdio", "inputs": per_test(texts()), "outputs": per_test(texts())},
                {
                    "type": "call",
                    "fn_name": "f",
                    "inputs": per_test(st.lists(json_values(), max_size=3)),
                    "outputs": per_test(json_values()),
                },
                {"type": "assert", "setup": "x = 1", "asserts": per_test(st.just("assert f(x) == 2"))},
            ]
        )
    )
    extra = {"preamble": "import math", "timeout_s": 1.5, "memory_limit_bytes": 2**24}
    return {**tests, **{name: extra[name] for name in draw(st.lists(st.sampled_from(sorted(extra)), unique=True))}}


@st.composite
def problems(draw: st.DrawFn) -> Problem:
    messages = st.lists(st.fixed_dictionaries({"role": st.just("user"), "content": texts()}), min_size=1, max_size=3)
    return Problem(
        task_id=draw(texts().filter(str.strip)),
        prompt=draw(texts().filter(bool) | messages),
        starter_code=draw(texts()),
        canonical_solution=draw(texts()),
        tests=draw(valid_tests()),
        difficulty=draw(st.sampled_from(["introductory", "interview", "competition", "easy", None])),
        columns=draw(st.dictionaries(st.sampled_from(["topic", "weight"]), json_values())),
    )


@settings(deadline=None, max_examples=50)
@given(problem=problems())
def test_row_round_trip_keeps_problem(problem):
    row = json.loads(json.dumps(problem.to_row()))

    assert Problem.from_row(row) == problem


def test_row_has_every_column_and_tests_as_json():
    row = Problem.from_row(ROW).to_row()

    assert row == {
        "task_id": "a",
        "prompt": "Add one.",
        "starter_code": "",
        "canonical_solution": "",
        "tests": json.dumps(TESTS),
        "difficulty": None,
    }


def test_nulls_are_ignored():
    row = {**ROW, "starter_code": None, "difficulty": None}

    assert Problem.from_row(row) == Problem(task_id="a", prompt="Add one.", tests=TESTS)


def test_own_columns_are_kept():
    problem = Problem.from_row({**ROW, "topic": "sums", "weight": 2})

    assert problem.columns == {"topic": "sums", "weight": 2}
    assert problem.to_row()["topic"] == "sums"
    assert problem != Problem.from_row(ROW)


def test_id_stands_for_task_id():
    row = without("task_id")

    assert Problem.from_row({**row, "id": 17}) == Problem("17", "Add one.", tests=TESTS)
    assert Problem.from_row({**row, "id": "b"}).task_id == "b"
    assert Problem.from_row({**ROW, "id": 17}).columns == {"id": 17}


def test_difficulty_is_any_text():
    assert Problem.from_row({**ROW, "difficulty": "easy"}).difficulty == "easy"


def test_problems_are_hashable():
    assert len({Problem.from_row(ROW), Problem.from_row(ROW)}) == 1


def test_chat_messages_keep_only_role_and_content():
    message = {"role": "user", "content": "Add one.", "name": None}

    assert Problem.from_row({**ROW, "prompt": [message]}).prompt == [{"role": "user", "content": "Add one."}]


def test_empty_prompt_with_starter_code_is_accepted():
    assert Problem(task_id="a", prompt="", starter_code="def f():\n", tests=TESTS).prompt == ""


def without(name: str) -> dict[str, Any]:
    return {key: value for key, value in ROW.items() if key != name}


@pytest.mark.parametrize(
    ("row", "parts"),
    [
        (without("task_id"), ["`task_id` is missing", "string"]),
        (without("prompt"), ["`prompt` is missing"]),
        (without("tests"), ["`tests` is missing", "at least one test"]),
        ({**ROW, "tests": None}, ["`tests` is null"]),
        ({**ROW, "task_id": 17}, ["`task_id` is 17 (int)", '`"17"`']),
        ({**ROW, "task_id": " "}, ["`task_id` is ' '", "blank"]),
        ({**ROW, "prompt": 3}, ["`prompt` is 3 (int)", "`role` and `content`"]),
        ({**ROW, "prompt": ""}, ["both empty"]),
        ({**ROW, "prompt": []}, ["`prompt` is an empty list", '"role": "user"']),
        ({**ROW, "prompt": ["hi"]}, ["`prompt[0]` is 'hi' (str)"]),
        ({**ROW, "prompt": [{"role": "user"}]}, ["`prompt[0].content` is missing"]),
        ({**ROW, "prompt": [{"role": "user", "content": 1}]}, ["`prompt[0].content` is 1 (int)"]),
        ({**ROW, "prompt": [{"role": "assistant", "content": "x"}]}, ["assistant", "`starter_code`"]),
        ({**ROW, "prompt": "\ud800"}, ["`prompt`", "surrogate", "character 0"]),
        ({**ROW, "starter_code": 1}, ["`starter_code` is 1 (int)"]),
        ({**ROW, "canonical_solution": ["x"]}, ["`canonical_solution` is ['x'] (list)"]),
        ({**ROW, "difficulty": True}, ["`difficulty` is True (bool)"]),
        ({**without("task_id"), "id": [1]}, ["`task_id` is [1] (list)"]),
        ([], ["the row is [] (list)", "object"]),
    ],
)
def test_error_names_place_column_and_fix(row, parts):
    with pytest.raises(BadInputError) as error:
        Problem.from_row(row, "file.jsonl:3")

    assert str(error.value).startswith("file.jsonl:3: ")
    assert [part for part in parts if part not in str(error.value)] == []


def test_problem_constructor_checks_tests():
    with pytest.raises(BadInputError, match=r"`Problem` 'a' \(str\): `tests.type` is missing"):
        Problem(task_id="a", prompt="p", tests={})


@pytest.mark.parametrize("digits", [4000, 4300, 5000, 9131])
def test_integers_of_any_length_are_written_and_read(digits):
    number = 7 - 10**digits
    tests = {"type": "call", "fn_name": "f", "inputs": [[number, {"a": [number]}]], "outputs": [-number]}
    problem = Problem(task_id="a", prompt="p", tests=tests)

    assert Problem.from_row(problem.to_row()) == problem
