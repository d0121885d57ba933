"""Rows that carry more tests, or other conventions, than a poorer format knows."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from stepcoder_trl.data.formats import load_problems
from stepcoder_trl.errors import BadInputError
from tests.unit.data.published_rows import (
    ACECODE,
    APPS,
    CODECONTESTS,
    EVALPLUS,
    HUMANEVAL,
    HUMANEVAL_PACK,
    HUMANEVAL_PLUS,
    LEETCODE_2,
    MBPP,
    MBPP_PLUS,
    TACO,
    VERIFICATION_INFO,
    VERL,
)


def outcomes(executor, path, *programs: str) -> list[str]:
    (problem,) = load_problems(path)
    solution = problem.canonical_solution
    return [
        str(one.outcome) for one in executor.run_many([solution, *programs], [problem.tests] * (1 + len(programs)))
    ]


# EvalPlus

AS_SETS = "def assertion(out, exp, atol):\n    assert set(out) == set(exp)\n\n"
REFERENCE = "def ref_func(xs):\n    return sum(xs) / 2\n\ndef assertion(out, exp, atol):\n    assert out == exp\n\n"
LOOP = "for i, (inp, exp) in enumerate(zip(inputs, results)):\n    assertion(half(*inp), exp, 0)\n"
TABLES = "inputs = [[[2, 4]], [[3]]]\nresults = [3, 1.5]\n"
EXTENDED = {
    "zip without counter": MBPP_PLUS["test"].replace("i, (inp, exp)", "inp, exp").replace("enumerate(", "(", 1),
    "reference": f"{REFERENCE}{TABLES}for inp in inputs:\n    assertion(half(*inp), ref_func(*inp), 0)\n",
    "another loop": f"{REFERENCE}{TABLES}n = 0\nwhile n < 2:\n    assert half(*inputs[n]) == results[n]\n    n += 1\n",
    "two tables": f"{REFERENCE}{TABLES}{LOOP}{TABLES.replace('[[3]]', '[[9]]').replace('1.5', '4.5')}{LOOP}",
    "functions of pytest": "from solution import half\n\ndef test_half():\n    assert half([3]) == 1.5\n",
    "a class of unittest": "import unittest\n\nclass TestHalf(unittest.TestCase):\n    def test_half(self):\n"
    "        self.assertEqual(half([3]), 1.5)\n",
    "own comparison": f"def assertion(out, exp, atol):\n    assert [out] == [exp]\n\n{TABLES}{LOOP}",
}


@pytest.mark.sandbox
@pytest.mark.parametrize("name", EXTENDED)
def test_extended_tests_of_mbpp_plus_are_run(untraced, write_rows, name):
    wrong = "def half(xs):\n    return sum(xs) / 2 if xs in ([2, 4], [1]) else -1\n"

    assert outcomes(untraced, write_rows({**MBPP_PLUS, "test": EXTENDED[name]}), wrong) == ["passed", "failed"]


def test_rounds_of_mbpp_plus_become_asserts_without_numpy(write_rows):
    (problem,) = load_problems(write_rows(MBPP_PLUS))

    assert problem.tests["asserts"][2:] == [
        "import math\nassert math.isclose(half([2, 4]), 3.0, rel_tol=1e-07, abs_tol=1e-06)",
        "assert half([]) == 0",
        "import math\nassert math.isclose(half((1, 2)), 1.5, rel_tol=1e-07, abs_tol=1e-06)",
    ]
    assert problem.tests["setup"] == ""
    assert "isclose" not in problem.prompt


@pytest.mark.sandbox
@pytest.mark.parametrize(
    ("results", "atol", "error", "outcome"),
    [
        ("[[1.5, 3.0]]", "0", 1e-8, "passed"),
        ("[[1.5, 3.0]]", "0", 1e-4, "failed"),
        ("[[1.5, 3.0]]", "1e-3", 1e-4, "passed"),
        ("[(1.5, 3.0)]", "1e-3", 1e-2, "failed"),
    ],
)
def test_tolerance_of_lists_of_floats(untraced, write_rows, results, atol, error, outcome):
    test = MBPP_PLUS["test"].partition("inputs")[0]
    test += f"inputs = [[3]]\nresults = {results}\n{LOOP.replace('exp, 0', f'exp, {atol}')}"
    code = "def half(x):\n    return [x / 2, x * 1.0]\n"
    row = {**MBPP_PLUS, "code": code, "test": test, "test_list": ["assert len(half(1)) == 2"]}

    assert outcomes(untraced, write_rows(row), f"def half(x):\n    return (x / 2 + {error}, x)\n") == [
        "passed",
        outcome,
    ]


def test_round_that_repeats_a_base_test_is_one_test(write_rows):
    test = f"def assertion(out, exp, atol):\n    assert out == exp\n{TABLES.replace('1.5', '2')}{LOOP}"

    (problem,) = load_problems(write_rows({**MBPP_PLUS, "test": test, "test_list": ["assert half( [2,4] )==3"]}))

    assert problem.tests["asserts"] == ["assert half( [2,4] )==3", "assert half([3]) == 2"]


@pytest.mark.sandbox
def test_answers_that_are_compared_as_sets(untraced, write_rows):
    row = {
        **MBPP_PLUS,
        "code": "def two(xs):\n    return sorted(xs)[:2]\n",
        "test_list": ["assert two([1, 2]) == [1, 2]"],
    }
    row["test"] = f"{AS_SETS}inputs = [[[3, 1, 2]]]\nresults = [[2, 1]]\n{LOOP.replace('half', 'two')}"
    wrong = "def two(xs):\n    return xs[:2]\n"

    assert outcomes(untraced, write_rows(row), wrong) == ["passed", "failed"]


@pytest.mark.sandbox
def test_inputs_of_humaneval_plus_are_tests_of_their_own(untraced, write_rows):
    path = write_rows(HUMANEVAL_PLUS)
    (problem,) = load_problems(path)

    assert problem.tests["asserts"] == ["assert inc(1) == 2", "assert inc(2) == 3", "assert inc(-1) == 0"]
    assert outcomes(untraced, path, "def inc(x):\n    return abs(x) + 1\n") == ["passed", "failed"]


@pytest.mark.parametrize("test", ["", "# none", "x = 1", "def check(f):\n    assert f([3]) == 1.5\n"])
@pytest.mark.parametrize("row", ["mbpp_plus", "verl"])
def test_module_that_tests_nothing_when_it_runs_is_refused(write_rows, row, test):
    truth = json.dumps({"functional": test or "pass"})
    rows = {"mbpp_plus": {**MBPP_PLUS, "test": test}, "verl": {**VERL, "reward_model": {"ground_truth": truth}}}

    with pytest.raises(BadInputError, match="which tests nothing when it runs"):
        load_problems(write_rows(rows[row]))


@pytest.mark.parametrize(
    ("row", "field"),
    [
        ({**HUMANEVAL, "plus_input": [[1]]}, "plus_input"),
        ({**HUMANEVAL, "hidden_input": [[1]]}, "hidden_input"),
        ({**HUMANEVAL, "plus": "assert inc(2) == 3"}, "plus"),
        ({**MBPP, "extra_asserts": ["assert inc(3) == 4"]}, "extra_asserts"),
        ({**MBPP, "hiddenCases": [[3, 4]]}, "hiddenCases"),
        ({**APPS, "checker": "def check(): ..."}, "checker"),
        ({**CODECONTESTS, "special_judge": "int main() {}"}, "special_judge"),
        ({**HUMANEVAL, "test_code": "assert inc(1) == 2"}, "test_code"),
        ({**MBPP, "test": "assert inc(3) == 4"}, "test"),
        ({**MBPP, "plus_input": [[3]]}, "plus_input"),
        ({**APPS, "private_test_cases": "[]x"}, "private_test_cases"),
    ],
)
def test_row_with_tests_of_another_format_is_refused(write_rows, row, field):
    with pytest.raises(BadInputError, match=f"field `{field}` seems to hold tests"):
        load_problems(write_rows(row))


@pytest.mark.parametrize(
    "name",
    [
        *("judge", "online_judge", "judge_model", "judge_score", "use_cases", "upper_cases", "sanity_checks"),
        *("generated_output", "more_input"),
    ],
)
def test_usual_columns_of_datasets_are_no_tests(write_rows, name):
    assert len(load_problems(write_rows({**MBPP, name: "codeforces"}))) == 1


@pytest.mark.parametrize("name", ["cases", "checks", "edge_cases", "private_checks", "cornerCases", "test_checks"])
def test_columns_of_cases_and_checks_are_tests(write_rows, name):
    with pytest.raises(BadInputError, match=f"field `{name}` seems to hold tests"):
        load_problems(write_rows({**MBPP, name: ["1"]}))


def test_names_that_only_look_like_tests_are_no_reason(write_rows):
    row = {**MBPP, "contest": "a", "num_tests": 3, "latest": "x", "test_note": "", "unit_tests": [], "use_case": "x"}

    assert len(load_problems(write_rows(row))) == 1


def test_challenge_tests_of_mbpp_are_run(write_rows):
    (problem,) = load_problems(write_rows({**MBPP, "challenge_test_list": ["assert inc(9) == 10"]}))

    assert problem.tests["asserts"][-1] == "assert inc(9) == 10"
    assert "inc(9)" not in problem.prompt


MBPP_RELEASE: dict[str, Any] = {
    "task_id": "Mbpp/900",
    "prompt": '"""\nWrite a function to find shared elements.\nassert similar_elements((1, 2),(2, 3)) == (2,)\n"""\n',
    "entry_point": "similar_elements",
    "canonical_solution": "\ndef similar_elements(a, b):\n    return tuple(set(a) & set(b)) + a[:0]\n",
    "base_input": [[[1, 2], [2, 3]]],
    "plus_input": [[[1, 2, 3], [3, 1]]],
    "contract": "",
    "assertion": "assert similar_elements((1, 2),(2, 3)) == (2,)",
    "atol": 0,
}


@pytest.mark.sandbox
def test_mbpp_of_evalplus_release(untraced, write_rows):
    path = write_rows(MBPP_RELEASE)
    (problem,) = load_problems(path)
    other_order = "def similar_elements(a, b):\n    return tuple(sorted(set(a) & set(b), reverse=True)) + a[:0]\n"
    wrong = "def similar_elements(a, b):\n    return (2,)\n"

    assert problem.prompt.startswith("Write a function to find shared elements.")
    assert problem.starter_code == ""
    assert outcomes(untraced, path, other_order, wrong) == ["passed", "passed", "failed"]


@pytest.mark.sandbox
@pytest.mark.parametrize(
    ("body", "outcome"), [("return x + 1 + 1e-4", "passed"), ("return x + 1.1", "failed"), ("return str(x)", "failed")]
)
def test_tolerance_of_evalplus_release(untraced, write_rows, body, outcome):
    row = {**EVALPLUS, "canonical_solution": "    return x + 1.0\n", "test": ""}

    assert outcomes(untraced, write_rows(row), f"def inc(x):\n    {body}\n") == ["passed", outcome]


@pytest.mark.sandbox
@pytest.mark.parametrize("row", ["hub", "release"])
def test_program_that_lacks_a_definition_does_not_find_that_of_the_tests(untraced, write_rows, row):
    released = {**MBPP_RELEASE, "entry_point": "half", "assertion": "assert half([2]) == 1.0", "base_input": [[[2]]]}
    released["canonical_solution"] = "import math\n\ndef total(xs):\n    return math.fsum(xs)\n\n"
    released["canonical_solution"] += "def half(xs):\n    return total(xs) / 2\n"
    released["plus_input"] = [[[2, 4]]]
    lacking = "def half(xs):\n    return math.fsum(xs) / 2\n"
    helper = "def total(xs):\n    return sum(xs) + 1\n\ndef half(xs):\n    return total(xs) / 2\n"

    path = write_rows(MBPP_PLUS if row == "hub" else released)

    assert outcomes(untraced, path, lacking, helper)[1:] == ["runtime_error", "failed"]


MBPP_ORACLES = {
    "are_equivalent": ("return a == b", "return 7", "return a / 0", [[36, 57]]),
    "sum_div": ("return a - 1", "return 0", "return 1", [[12]]),
    "surface_Area": ("return 33", "return round(a * a + 2 * a * math.hypot(a / 2, b))", "return 34", [[3, 4]]),
    "digit_distance_nums": ("return 0", "return 12", "return 13", [[5, 98]]),
    "check_str": ("return 'x'", "return a == 'b'", "return None", [["b"]]),
    "extract_singly": ("return [1, 2]", "return (2, 1, 1)", "return [1]", [[[2, 1, 1]]]),
}


@pytest.mark.sandbox
@pytest.mark.parametrize("name", MBPP_ORACLES)
def test_answers_that_evalplus_judges_in_a_way_of_its_own(untraced, write_rows, name):
    solution, right, wrong, inputs = MBPP_ORACLES[name]
    row = {**MBPP_RELEASE, "entry_point": name, "base_input": inputs, "plus_input": inputs, "assertion": "assert 0"}
    start = f"import math\n\ndef {name}(a, b=0):\n    "

    path = write_rows({**row, "canonical_solution": f"\n{start}{solution}\n"})
    found = outcomes(untraced, path, f"{start}{right}\n", f"{start}{wrong}\n")

    assert found[:2] == ["passed", "passed"]
    assert found[2] in ("failed", "runtime_error")


def test_numbers_of_evalplus_that_json_has_as_text(write_rows):
    row = {**MBPP_RELEASE, "entry_point": "angle", "assertion": "assert angle(0, 1j, 'a') == 1.5"}
    row["canonical_solution"] = "def angle(a, b, c):\n    return 1.5\n"
    row = {**row, "base_input": [["0", "1j", "2"]], "plus_input": [["1e2", "(-1+0j)", "x"]]}

    (problem,) = load_problems(write_rows(row))

    assert [statement.partition(", _exp")[0] for statement in problem.tests["asserts"][1:]] == [
        "assert _agrees(angle(0.0, 1j, '2')",
        "assert _agrees(angle(100.0, (-1+0j), 'x')",
    ]
    assert problem.columns == {"num_base_tests": 2}


def test_lists_and_tuples_of_different_depth(write_rows):
    row = {**MBPP_RELEASE, "entry_point": "flat", "assertion": "assert flat((5, (1, 2), 7)) == 1"}
    row["canonical_solution"] = "def flat(t):\n    return 1\n"

    (problem,) = load_problems(write_rows({**row, "base_input": [[[5, [1, 2], 7]]], "plus_input": [[[[3], 4]]]}))

    assert "flat(((3,), 4))" in problem.tests["asserts"][-1]


@pytest.mark.sandbox
def test_solution_of_evalplus_with_global_names_and_star_imports(untraced, write_rows):
    code = "from __future__ import annotations\nfrom math import *\ncalls = 0\n\n"
    code += "def half(xs):\n    global calls\n    calls += 1\n    return floor(xs[0] / 2)\n"
    row = {**MBPP_RELEASE, "entry_point": "half", "assertion": "", "base_input": [[[2]]], "plus_input": [[[5]]]}

    path = write_rows({**row, "canonical_solution": code})

    assert outcomes(untraced, path, "def half(xs):\n    return xs[0] // 2\n") == ["passed", "passed"]


@pytest.mark.sandbox
@pytest.mark.parametrize(("body", "outcome"), [("return [2.0, 4]", "passed"), ("return (2.0, 4.0)", "failed")])
def test_types_count_where_evalplus_compares_floats(untraced, write_rows, body, outcome):
    row = {**EVALPLUS, "canonical_solution": "    return [2.0, 4.0]\n", "test": ""}

    assert outcomes(untraced, write_rows(row), f"def inc(x):\n    {body}\n") == ["passed", outcome]


# Checks that call themselves

CHECK = "def check(candidate):\n    assert candidate(1) == 2\n    assert candidate(2) == 3\n"
SELF_CALLING = {
    "at the end": f"{CHECK}\ncheck(inc)\n",
    "in the main block": f'{CHECK}\nif __name__ == "__main__":\n    check(inc)\n',
    "twice": f"{CHECK}def check_zero(f):\n    assert f(0) == 1\n\ncheck(inc); check_zero(inc)\n",
    "its own parameter's name": CHECK.replace("candidate", "inc") + "\ncheck(inc)",
    "and asserts more": f"{CHECK}\ncheck(inc)\nassert inc(5) == 6\n",
    "in a loop": f"{CHECK}\nfor _ in (1, 2):\n    check(inc)\n",
    "and keeps the result": f"{CHECK}\nfound = check(inc)\nprint(found)\n",
    "in two versions": f"{CHECK}\ncheck(inc)\ndef check(f):\n    assert f(0) == 1\n\ncheck(inc)\n",
}


@pytest.mark.sandbox
@pytest.mark.parametrize("row", [HUMANEVAL, HUMANEVAL_PACK, LEETCODE_2], ids=["humaneval", "pack", "leetcode"])
@pytest.mark.parametrize("name", SELF_CALLING)
def test_wrong_answer_fails_a_check_that_calls_itself(untraced, write_rows, row, name):
    test = SELF_CALLING[name]
    wrong = "def inc(x):\n    return 2\n"
    if row is LEETCODE_2:
        test = re.sub(r"(?<!def )(check\w*)\(inc\)", r"\1(Solution().inc)", test).replace(
            "assert inc", "assert Solution().inc"
        )
        wrong = "class Solution:\n    def inc(self, x):\n        return 2\n"

    assert outcomes(untraced, write_rows({**row, "test": test}), wrong) == ["passed", "failed"]


def test_check_that_its_module_does_not_call_is_called_beside_its_asserts(write_rows):
    (problem,) = load_problems(write_rows({**HUMANEVAL, "test": f"{CHECK}\nassert inc(5) == 6\n"}))

    assert problem.tests["asserts"] == ["check(inc)", "assert inc(5) == 6"]


LOOP_OF_CHECK = "def check(f):\n    for x, y in CASES:\n        assert f(x) == y\n\n"
PREPARING = {
    "a table from a reference": f"def ref(x):\n    return x + 1\nCASES = [(1, ref(1)), (5, ref(5))]\n{LOOP_OF_CHECK}",
    "a result of the program": "EXPECTED = inc(1)\ndef check(f):\n    assert f(1) == EXPECTED\n    assert f(5) == 6\n",
    "an object": f"solver = Solution(); BIG = 10\n\n{CHECK}    assert solver.inc(BIG) == BIG + 1\n",
    "a loop": "def add(x):\n    CASES.append((x, x + 1))\n\nCASES = []\nfor x in (1, 5):\n    add(x)\n"
    + LOOP_OF_CHECK,
    "calls": "def add(x):\n    CASES.append((x, x + 1))\n\nCASES = []\nadd(1)\nadd(5)\n" + LOOP_OF_CHECK,
    "a comment": f"assert inc(1) == 2\n# then check(inc)\n{CHECK}",
    "a docstring": f'"""Run check(inc)."""\nassert inc(1) == 2\n{CHECK}',
    "a function that is not called": f"{CHECK}\ndef main():\n    check(inc)\n\nassert inc(1) == 2\n",
    "a block that does not run": f"{CHECK}\nif inc(1) == 3:\n    check(inc)\n",
    "a check of a reference": f"{CHECK}\ncheck(lambda x: x + 1)\n",
}


@pytest.mark.sandbox
@pytest.mark.parametrize("name", PREPARING)
def test_check_is_called_after_what_its_module_prepares(untraced, write_rows, name):
    row = {**HUMANEVAL, "test": PREPARING[name]}
    wrong = "def inc(x):\n    return 2\n"
    if name == "an object":
        row, wrong = (
            {**LEETCODE_2, "test": PREPARING[name]},
            f"class Solution:\n    {wrong}".replace("inc(", "inc(self, "),
        )
        wrong = wrong.replace("\n    return", "\n        return")

    assert outcomes(untraced, write_rows(row), wrong) == ["passed", "failed"]


def test_check_is_a_test_where_an_assignment_calls_it_through_a_function(write_rows):
    test = f"{CHECK}\ndef main():\n    check(Solution().inc)\n\nfound = main()\n"

    (problem,) = load_problems(write_rows({**LEETCODE_2, "test": test}))

    assert problem.tests["asserts"] == ["check(Solution().inc)"]


def test_check_that_a_function_calls_is_not_called_again(write_rows):
    test = f"{CHECK}\ndef main():\n    check(inc)\n\nmain()\n"

    (problem,) = load_problems(write_rows({**HUMANEVAL, "test": test}))

    assert problem.tests["asserts"] == ["main()"]


@pytest.mark.sandbox
@pytest.mark.parametrize(
    "definition",
    [
        "N = 5\ndef helper(x, n=N):\n    return x + n\n",
        "N = 5\ndef keep(f):\n    return f\nmark = keep\n@mark\ndef helper(x):\n    return x + N\n",
        "Base = object\nclass Adder(Base):\n    def add(self, x):\n        return x + 5\nhelper = Adder().add\n",
    ],
)
@pytest.mark.parametrize("row", [HUMANEVAL, VERL], ids=["humaneval", "verl"])
def test_definitions_stay_behind_what_they_need(untraced, write_rows, row, definition):
    test = f"{CHECK}\ncheck(inc)\n{definition}assert helper(inc(1)) == 7\n"
    truth = {"reward_model": {"ground_truth": json.dumps({"functional": test})}}
    wrong = "def inc(x):\n    return 2\n"

    assert outcomes(untraced, write_rows({**row, "test": test} if row is HUMANEVAL else {**row, **truth}), wrong) == [
        "passed",
        "failed",
    ]


@pytest.mark.sandbox
def test_functions_of_pytest_beside_a_table_are_run(untraced, write_rows):
    code = "def ref(x):\n    return x + 1\n\nCASES = [ref(1)]\n\ndef test_a():\n    assert inc(1) == CASES[0]\n"
    row = {**VERL, "reward_model": {"ground_truth": json.dumps({"functional": code})}}

    assert outcomes(untraced, write_rows(row), "def inc(x):\n    return 99\n") == ["passed", "failed"]


# CodeContests

GROUPS = ("public_tests", "private_tests", "generated_tests")


@pytest.mark.parametrize("form", ["lists", "objects", "one group", "names of languages", "text"])
def test_tests_of_all_groups_of_codecontests_are_read(write_rows, form):
    row = dict(CODECONTESTS)
    if form == "objects":
        for name in GROUPS:
            row[name] = [{"input": row[name]["input"][0], "output": row[name]["output"][0]}]
        row["solutions"] = [{"language": 3, "solution": "print(int(input()) * 2)\n"}]
    if form == "one group":
        tests = {kind: [text for name in GROUPS for text in row[name][kind]] for kind in ("input", "output")}
        row = {**row, **dict.fromkeys(GROUPS), "generated_tests": tests}
    if form == "text":
        row = {**row, **{name: json.dumps(row[name]) for name in (*GROUPS, "solutions")}}
    if form == "names of languages":
        row["solutions"] = {"language": ["CPP", "PYTHON3"], "solution": ["int main(){}", "print(int(input()) * 2)\n"]}

    (problem,) = load_problems(write_rows(row))

    assert problem.tests["inputs"] == ["1\n", "5\n", "-3\n"]
    assert problem.tests["outputs"] == ["2\n", "10\n", "-6\n"]
    assert problem.canonical_solution == "print(int(input()) * 2)\n"


@pytest.mark.parametrize(
    ("time", "seconds"),
    [
        ({"seconds": 2, "nanos": 500_000_000}, 2.5),
        ({"seconds": 0, "nanos": 250_000_000}, 0.25),
        (None, None),
        (4.0, 4.0),
    ],
)
def test_limits_of_codecontests(write_rows, time, seconds):
    (problem,) = load_problems(write_rows({**CODECONTESTS, "time_limit": time}))

    assert problem.tests.get("timeout_s") == seconds
    assert problem.tests["memory_limit_bytes"] == 256_000_000


def test_limits_of_taco(write_rows):
    (problem,) = load_problems(write_rows(TACO))

    assert (problem.tests["timeout_s"], problem.tests["memory_limit_bytes"]) == (2.0, 256 * 2**20)
    assert problem.difficulty == "interview"
    assert problem.tests["inputs"] == ["1\n", "2\n3"]


# Strings with quotes of their own in LeetCode rows of APPS


@pytest.mark.parametrize(
    ("given", "loaded"),
    [
        ((['"a"', ['"b"', ['"c"']]], '"d"'), (["a", ["b", ["c"]]], "d")),
        (([['"a"', "b"]], '"d"'), ([['"a"', "b"]], '"d"')),  # one without quotes: no convention
        (([{"k": '"a"'}], ['"d"', '"e"']), ([{"k": "a"}], ["d", "e"])),
        (([7], '"d"'), ([7], "d")),  # only outputs are strings
        (([7], ['"d"', "e"]), ([7], ['"d"', "e"])),
        (([['""', '"\\n"']], True), ([["", "\n"]], True)),
        (([["a"]], '"d"'), ([["a"]], '"d"')),
    ],
)
def test_all_strings_lose_their_quotes_or_none(write_rows, given, loaded):
    tests = {"fn_name": "f", "inputs": [given[0]], "outputs": [given[1]]}
    row = {**APPS, "starter_code": "class Solution:\n    def f(self, x):\n", "input_output": json.dumps(tests)}

    (problem,) = load_problems(write_rows(row))

    assert (problem.tests["inputs"][0], problem.tests["outputs"][0]) == loaded


@pytest.mark.parametrize("name", ["id", "problem_id"])
def test_apps_has_either_name_of_its_id(write_rows, name):
    row = {key: value for key, value in APPS.items() if key != "problem_id"}

    (problem,) = load_problems(write_rows({**row, name: 12}))

    assert problem.task_id == "rows/12"


@pytest.mark.parametrize("more", [["2"], {"inputs": ["2"], "outputs": ["2"]}])
def test_tests_beside_inputs_and_outputs_are_refused(write_rows, more):
    tests = {"inputs": ["1"], "outputs": ["1"], "plus": more}

    with pytest.raises(BadInputError, match="`input_output` holds `plus` beside `inputs`"):
        load_problems(write_rows({**APPS, "input_output": tests}))


def test_ground_truth_in_two_forms_is_refused(write_rows):
    truth = json.dumps({"functional": "assert inc(1) == 2", "inputs": ["1"], "outputs": ["2"]})

    with pytest.raises(BadInputError, match="holds both `functional` and `inputs`"):
        load_problems(write_rows({**VERL, "reward_model": {"ground_truth": truth}}))


def test_tests_beside_test_cases_of_verification_info_are_refused(write_rows):
    info = {"language": "python", "test_cases": ["assert inc(1) == 2"], "hidden_tests": ["assert inc(2) == 3"]}

    with pytest.raises(BadInputError, match="seems to hold tests in `hidden_tests` beside `test_cases`"):
        load_problems(write_rows({**VERIFICATION_INFO, "verification_info": info}))


# LeetCodeDataset


def test_cases_of_leetcode_that_check_does_not_have_become_tests(write_rows):
    cases = [
        {"input": "x=1", "output": "2"},
        {"input": "x = 5", "output": "6"},
        {"input": "x = 6", "output": "Error: list index out of range"},
        {"input": "x = 7", "output": "Execution timed out"},
    ]

    (problem,) = load_problems(write_rows({**LEETCODE_2, "input_output": cases}))

    assert problem.tests["asserts"] == ["assert Solution().inc(x = 1) == 2", "assert Solution().inc(x=5) == 6"]


def test_case_of_leetcode_that_is_not_python_is_refused(write_rows):
    cases = [{"input": "x = 1", "output": "2"}, {"input": "x = 5", "output": "six [}"}]

    with pytest.raises(BadInputError, match="`input_output` has a case that is not Python"):
        load_problems(write_rows({**LEETCODE_2, "input_output": cases}))


def test_check_with_lists_and_trees_stays_one_test(write_rows):
    test = "def check(candidate):\n    assert is_same(candidate(head = node([1])), node([2]))\n"

    (problem,) = load_problems(write_rows({**LEETCODE_2, "test": test}))

    assert problem.tests["asserts"] == ["check(Solution().inc)"]


# Integers of any length

LONG = "9" * 5000
LATER = "1" + "0" * 5000
WITH_LONG_INTEGERS: dict[str, dict[str, Any]] = {
    "mbpp": {**MBPP, "test_list": [f"assert inc({LONG}) == {LATER}", "assert inc(1) == 2"]},
    "humaneval": {**HUMANEVAL, "test": f"def check(f):\n    assert f(1) == 2\n    assert f({LONG}) == {LATER}\n"},
    "acecode": {**ACECODE, "test_cases": ["assert inc(1) == 2", f"assert inc({LONG}) == {LATER}"]},
    "leetcode": {**LEETCODE_2, "input_output": [{"input": f"x = {LONG}", "output": LATER}]},
    "verl": {**VERL, "reward_model": {"ground_truth": json.dumps({"functional": f"assert inc({LONG}) == {LATER}"})}},
}


@pytest.mark.sandbox
@pytest.mark.parametrize("name", WITH_LONG_INTEGERS)
def test_asserts_may_have_integers_of_any_length(untraced, write_rows, name):
    wrong = "def inc(x):\n    return 2\n"
    if name == "leetcode":
        wrong = "class Solution:\n    def inc(self, x):\n        return 2\n"

    assert outcomes(untraced, write_rows(WITH_LONG_INTEGERS[name]), wrong) == ["passed", "failed"]


def test_inputs_of_evalplus_may_have_any_length(write_rows):
    path = write_rows(EVALPLUS)
    path.write_text(path.read_text().replace("[[1], [2]]", f"[[1], [{LONG}]]"))

    (problem,) = load_problems(path)

    assert f"inc({LONG})" in problem.tests["asserts"][2]
