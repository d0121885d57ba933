"""Test the check of a problem's tests, and their parsed form."""

from __future__ import annotations

import json
import pickle
import re
from typing import Any

import pytest

from stepcoder_trl.errors import BadInputError
from stepcoder_trl.executor.verdict.limits import Limits
from stepcoder_trl.executor.verdict.prepare import prepare_job
from stepcoder_trl.executor.verdict.schema import Tests, validate_tests


STDIO: dict[str, Any] = {"type": "stdio", "inputs": ["1\n"], "outputs": ["2\n"]}
CALL: dict[str, Any] = {"type": "call", "fn_name": "f", "inputs": [[1]], "outputs": [2]}
ASSERT: dict[str, Any] = {"type": "assert", "setup": "x = 1", "asserts": ["assert f(x) == 2"]}


@pytest.mark.parametrize("tests", [STDIO, CALL, ASSERT, {**STDIO, "fn_name": "f"}])
def test_valid_tests_are_unchanged_from_object_and_text(tests):
    assert validate_tests(tests) == tests
    assert validate_tests(json.dumps(tests)) == tests


def test_options_are_kept():
    options = {"preamble": "import math\n", "timeout_s": 2, "memory_limit_bytes": 2**28}
    options |= {"float_tolerance": 0, "trusted": False}

    assert validate_tests({**STDIO, **options}) == {**STDIO, **options}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(("float_tolerance", value) for value in (-1, "1e-6", True, float("nan"), float("inf"))),
        *(("trusted", value) for value in (0, "false", [])),
    ],
)
def test_wrong_options_are_refused(field, value):
    with pytest.raises(BadInputError, match=rf"`tests\.{field}` is"):
        validate_tests({**CALL, field: value})


def test_empty_fields_of_other_forms_are_dropped():
    filled = {**STDIO, "fn_name": None, "setup": "", "asserts": [], "preamble": "", "timeout_s": None}

    assert validate_tests(filled) == STDIO


def test_setup_is_optional():
    assert validate_tests({"type": "assert", "asserts": ["assert f() == 1\n "]}) == {
        "type": "assert",
        "setup": "",
        "asserts": ["assert f() == 1"],
    }


def test_tuples_become_lists():
    assert validate_tests({**CALL, "inputs": [((1, 2),)], "outputs": ((3,),)}) == {
        **CALL,
        "inputs": [[[1, 2]]],
        "outputs": [[3]],
    }


def test_integers_may_have_any_length():
    text = json.dumps({**CALL, "outputs": ["N"]}).replace('"N"', "-" + "7" * 9001)

    (value,) = validate_tests(text)["outputs"]

    assert value % 10**6 == 10**6 - 777777
    assert value == -7 * (10**9001 - 1) // 9


def test_invalid_escape_sequence_is_allowed():
    assert validate_tests({**ASSERT, "asserts": ["assert f('\\d')"]})["asserts"] == ["assert f('\\d')"]


def nested(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("tests", "parts"),
    [
        (
            {**STDIO, "type": "io"},
            ["`tests.type` is 'io'", '`"stdio"`, `"call"`, `"assert"`, `"unittest"` and `"checker"`'],
        ),
        ({**STDIO, "type": ["stdio"]}, ["`tests.type` is ['stdio'] (list)"]),
        ({"inputs": []}, ["`tests.type` is missing"]),
        ([STDIO], ["`tests` is [", "must be an object"]),
        (3, ["`tests` is 3 (int)"]),
        ("", ["`tests` is empty"]),
        ("{", ["`tests` is not valid JSON", "column 2"]),
        ("[" * 100_000, ["`tests` is not valid JSON", "nested too deeply"]),
        ({"type": "stdio", "outputs": []}, ["`tests.inputs` is missing"]),
        ({**STDIO, "inputs": "1\n"}, ["`tests.inputs` is '1\\n' (str)", "`[...]`"]),
        ({**STDIO, "inputs": [1]}, ["`tests.inputs[0]` is 1 (int)", "must be a str"]),
        ({**STDIO, "outputs": [True]}, ["`tests.outputs[0]` is True (bool)"]),
        ({**STDIO, "outputs": []}, ["`tests.outputs` is empty", "no test at all"]),
        ({**STDIO, "outputs": ["1", "2"]}, ["1 entries", "`tests.outputs` 2"]),
        ({**STDIO, "inputs": ["\udc80"]}, ["`tests.inputs[0]`", "lone surrogate"]),
        ({**STDIO, "fn_name": "a b"}, ["`tests.fn_name` is 'a b'"]),
        ({"type": "call", "inputs": [[1]], "outputs": [1]}, ["`tests.fn_name` is missing"]),
        ({**CALL, "fn_name": "Solution().f"}, ["not `Solution().two_sum`"]),
        ({**CALL, "fn_name": "def"}, ["`tests.fn_name` is 'def'"]),
        ({**CALL, "inputs": [1]}, ["`tests.inputs[0]` is 1 (int)", "`[argument]`"]),
        ({**CALL, "outputs": [{1, 2}]}, ["`tests.outputs[0]` is {1, 2} (set)", "JSON values"]),
        ({**CALL, "outputs": [{1: 2}]}, ["The key 1 (int) is not a string"]),
        ({**CALL, "outputs": [nested(100_000)]}, ["`tests.outputs[0]` is nested too deeply"]),
        ({**ASSERT, "asserts": []}, ["`tests.asserts` is empty"]),
        ({**ASSERT, "asserts": "assert x"}, ["`tests.asserts` is 'assert x' (str)"]),
        ({**ASSERT, "asserts": [" "]}, ["`tests.asserts[0]`", "Remove the empty one"]),
        ({**ASSERT, "asserts": ["f(1) == 2"]}, ["`tests.asserts[0]`", "that can fail", "Write `assert condition, "]),
        ({**ASSERT, "asserts": ["f(1) == 2 and f(2) > 3"]}, ["`tests.asserts[0]`", "that can fail"]),
        ({**ASSERT, "asserts": ["not f(1) == 2"]}, ["`tests.asserts[0]`", "that can fail"]),
        ({**ASSERT, "asserts": ["f(1) == 2; f(2) == 3"]}, ["`tests.asserts[0]`", "that can fail"]),
        ({**ASSERT, "asserts": ["# assert f(1) == 2"]}, ["`tests.asserts[0]`", "that can fail"]),
        ({**ASSERT, "asserts": ["assert (f(1) == 2, 'two')"]}, ["`tests.asserts[0]`", "that can fail"]),
        ({**ASSERT, "asserts": ["f(1) == 2  # assert"]}, ["`tests.asserts[0]`", "that can fail"]),
        ({**ASSERT, "asserts": ["assert ("]}, ["`tests.asserts[0]`", "must be Python", "line 1"]),
        ({**ASSERT, "setup": 1}, ["`tests.setup` is 1 (int)"]),
        ({**ASSERT, "setup": "a b"}, ["`tests.setup`", "invalid syntax"]),
        ({**STDIO, "preamble": "a b"}, ["`tests.preamble`", "must be Python"]),
        ({**STDIO, "timeout_s": 0}, ["`tests.timeout_s` is 0 (int)", "above 0"]),
        ({**STDIO, "timeout_s": True}, ["`tests.timeout_s` is True (bool)"]),
        ({**STDIO, "timeout_s": "3"}, ["`tests.timeout_s` is '3' (str)", "without quotes"]),
        ({**STDIO, "timeout_s": float("inf")}, ["`tests.timeout_s` is inf"]),
        ({**STDIO, "timeout_s": float("nan")}, ["`tests.timeout_s` is nan"]),
        ({**STDIO, "timeout_s": 10**400}, ["`tests.timeout_s` is 1000", "default limit"]),
        ({**STDIO, "float_tolerance": 10**400}, ["`tests.float_tolerance` is 1000"]),
        ({**STDIO, "memory_limit_bytes": 512}, ["`tests.memory_limit_bytes` is 512", "536870912"]),
        ({**STDIO, "memory_limit_bytes": 1e9}, ["`tests.memory_limit_bytes` is 1000000000.0 (float)"]),
        ({**STDIO, "timeout": 3}, ["`tests.timeout` is not a field", "`timeout_s`?"]),
        ({**STDIO, "asserts": ["assert 1"]}, ["`tests.asserts` is not a field", "Remove it"]),
    ],
)
def test_error_names_place_field_and_fix(tests, parts):
    with pytest.raises(BadInputError) as error:
        validate_tests(tests, "rows.jsonl:7")

    assert str(error.value).startswith("rows.jsonl:7: ")
    assert [part for part in parts if part not in str(error.value)] == []


def test_error_shows_integer_with_more_digits_than_python_prints():
    with pytest.raises(BadInputError, match=r"`tests.inputs\[0\]` is 10{70,}\.\.\. \(int\)"):
        validate_tests({**STDIO, "inputs": [10**5000]})


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        (nested(300), "nested too deeply"),
        ([0] * 2_000_001, "too large"),
        ("x" * (16 * 2**20 + 1), "too large"),
        (1 << 2**27, "too large"),
    ],
    ids=["deep", "many", "long", "digits"],
)
@pytest.mark.parametrize("field", ["inputs", "outputs"])
def test_value_too_large_for_a_message_is_refused(value, problem, field):
    tests = {"type": "call", "fn_name": "f", "inputs": [[1], [1]], "outputs": [1, 1]}
    tests[field] = [[1], [value]]

    with pytest.raises(BadInputError, match=rf"^rows.jsonl:7: `tests.{field}\[1\]` is {problem}"):
        validate_tests(tests, "rows.jsonl:7")


@pytest.mark.parametrize(
    "statement",
    [
        "f(1) == 2 or exit(1)",
        "f(0) or fail()",
        "self_check() and other_check()",
        "x = f(1); assert x == 2",
        "check(f)",
    ],
)
def test_statement_that_can_fail_is_accepted(statement):
    assert Tests.parse({**ASSERT, "asserts": [statement]})["asserts"] == [statement]


def test_parsed_tests_are_a_mapping_of_the_checked_fields():
    tests = Tests.parse(json.dumps({**CALL, "preamble": None}))

    assert tests == CALL
    assert {**tests, "timeout_s": 2.0} == {**CALL, "timeout_s": 2.0}


def test_parsed_tests_are_not_checked_again():
    tests = Tests.parse(CALL)

    assert Tests.parse(tests, "rows.jsonl:7") is tests


def test_parsed_tests_are_not_affected_by_their_source():
    source = {**CALL, "outputs": [2]}
    tests = Tests.parse(source)

    source["outputs"][0] = 3

    assert tests["outputs"] == [2]


def test_parsed_tests_are_pickled_without_prepared_messages():
    tests = Tests.parse(CALL)
    tests.prepared["settings"] = lambda: None

    copy = pickle.loads(pickle.dumps(tests))

    assert copy == tests
    assert copy.prepared == {}


def test_name_of_a_function_is_the_one_that_python_makes_of_it():
    namespace: dict[str, Any] = {}
    exec("def \ufb01nd(n): pass", namespace)

    assert validate_tests({**CALL, "fn_name": "\ufb01nd"}, "")["fn_name"] in namespace


SUM = "x = " + "+".join(["1"] * 2000)


@pytest.mark.parametrize(
    ("tests", "part"),
    [
        ({**ASSERT, "setup": "def check(a, a): pass"}, "duplicate argument 'a'"),
        ({**ASSERT, "setup": "nonlocal x"}, "nonlocal declaration not allowed"),
        ({**ASSERT, "setup": "def g():\n    from numpy import *\n"}, "only allowed at module level"),
        ({**ASSERT, "preamble": "from __future__ import nothing"}, "`tests.preamble`"),
        ({**ASSERT, "asserts": [SUM.replace("x =", "assert f(1) ==").replace("+", "-not ")]}, "must be Python"),
        ({"type": "unittest", "code": f"{SUM}\ndef test_a():\n    assert f(1) == 1\n"}, "nested too deeply"),
    ],
)
def test_code_that_python_cannot_compile_is_refused_by_the_row(tests, part):
    with pytest.raises(BadInputError, match="rows.jsonl:1: .*" + re.escape(part)):
        validate_tests(tests, "rows.jsonl:1")


def test_code_that_is_too_deep_to_judge_is_bad_input():
    with pytest.raises(BadInputError, match="nested too deeply"):
        prepare_job("", Tests.parse({**ASSERT, "setup": SUM}), Limits())
