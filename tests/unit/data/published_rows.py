"""Rows of our own in the schema of each format that is read, with a wrong program and a broken field for each."""

from __future__ import annotations

import base64
import json
import pickle
import zlib
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Example:
    """Row in a published schema."""

    row: dict[str, Any]
    wrong: str  # program that fails
    broken: dict[str, Any]  # field with a value that cannot be used
    part: str  # of the error
    num_tests: int = 1
    trusted: bool = True
    solution: str | None = None  # for a dataset without solutions


OURS: dict[str, Any] = {
    "task_id": "a",
    "prompt": "Add one.",
    "canonical_solution": "print(int(input()) + 1)\n",
    "tests": {"type": "stdio", "inputs": ["1\n"], "outputs": ["2\n"]},
}
APPS_PLUS: dict[str, Any] = {
    "prompt": '\ndef AbCdE():\n    """"Duel!"\n\nIs $n \\neq 0$?\n    """\n',
    "canonical_solution": "def AbCdE():\n    print(input())\n",
    "starter_code": "\ndef AbCdE():\n",
    "inputs": ["1\n"],
    "outputs": ["1\n"],
    "scope": [],
    "difficulty": "competition",
}
APPS: dict[str, Any] = {
    "problem_id": 7,
    "question": "Print it.\n",
    "solutions": json.dumps(["print 1", "print(input())"]),
    "input_output": json.dumps({"inputs": ["1\n"], "outputs": ["1\n"]}),
    "difficulty": "interview",
    "url": "https://example.org",
    "starter_code": "",
}
TACO: dict[str, Any] = {
    "question": "Print it.\n",
    "solutions": json.dumps(["print 1", "print(input())"]),
    "starter_code": "",
    "input_output": json.dumps({"inputs": ["1\n", ["2", "3"]], "outputs": ["1\n", ["2"]]}),
    "difficulty": "MEDIUM_HARD",
    "raw_tags": "['Strings']",
    "name": None,
    "source": "codeforces",
    "tags": "['Strings']",
    "skill_types": "[]",
    "url": "https://example.org",
    "Expected Auxiliary Space": None,
    "time_limit": "2.0 seconds",
    "date": "2020-01-01",
    "picture_num": "0",
    "memory_limit": "256.0 megabytes",
    "Expected Time Complexity": None,
}
MBPP: dict[str, Any] = {
    "text": "Write a function to add one.",
    "code": "def inc(x):\r\n\treturn x + 1\r\n",
    "task_id": 3,
    "test_setup_code": "",
    "test_list": ["assert inc(1) == 2", "assert inc(2) == 3 "],
    "challenge_test_list": [],
}
MBPP_SANITIZED: dict[str, Any] = {
    "source_file": "Benchmark.ipynb",
    "task_id": 82,
    "prompt": "Write a function to find the volume of a sphere.",
    "code": "import math\ndef volume(r):\n  return 4 / 3 * math.pi * r**3",
    "test_imports": ["import math"],
    "test_list": ["assert math.isclose(volume(10), 4188.79, rel_tol=0.001)"],
}
_COMPARISON = """import numpy as np
from math import inf

def is_floats(x):
    return isinstance(x, float) or (isinstance(x, (list, tuple)) and all(isinstance(i, float) for i in x))

def assertion(out, exp, atol):
    same = out == exp
    if atol == 0 and is_floats(exp):
        atol = 1e-6
    if not same and atol != 0:
        np.testing.assert_allclose(out, exp, rtol=1e-07, atol=atol)
    else:
        assert same

"""
MBPP_PLUS: dict[str, Any] = {
    "task_id": 9,
    "code": "def half(xs):\n    return sum(xs) / 2\n",
    "prompt": "Write a function that returns half of a sum.",
    "source_file": "own",
    "test_imports": [],
    "test_list": ["assert half([2, 4]) == 3", "assert half([1]) == 0.5"],
    "test": _COMPARISON
    + "inputs = [[[2, 4]], [[]], [(1, 2)]]\nresults = [3.0, 0, 1.5]\n"
    + "for i, (inp, exp) in enumerate(zip(inputs, results)):\n    assertion(half(*inp), exp, 0)\n",
}
EVALPLUS: dict[str, Any] = {
    "task_id": "HumanEval/900",
    "prompt": 'def inc(x):\n    """Add one."""\n',
    "entry_point": "inc",
    "canonical_solution": "    return 0.1 if x == 0 else inc(x - 1) + 1 if x > 10 else x + 1\n",
    "contract": "    assert x >= 0\n",
    "base_input": [[1], [2]],
    "plus_input": [[0], [11]],
    "atol": 0.001,
    "test": "def check(candidate):\n    assert candidate(1) == 2\n",
}
HUMANEVAL: dict[str, Any] = {
    "task_id": "HumanEval/0",
    "prompt": 'def inc(x):\n    """Add one."""\n',
    "entry_point": "inc",
    "canonical_solution": "    return x + 1\n",
    "test": "METADATA = {}\n\n\ndef check(candidate):\n    assert candidate(1) == 2\n",
}
HUMANEVAL_PLUS: dict[str, Any] = {
    **HUMANEVAL,
    "test": _COMPARISON
    + "def check(candidate):\n    inputs = [[1], [2], [-1]]\n    results = [2, 3, 0]\n"
    + "    for i, (inp, exp) in enumerate(zip(inputs, results)):\n        assertion(candidate(*inp), exp, 0)\n",
}
HUMANEVAL_PACK: dict[str, Any] = {
    "task_id": "Python/0",
    "prompt": 'from typing import List\n\n\ndef inc(x: int) -> int:\n    """ Add one."""\n',
    "declaration": "from typing import List\n\n\ndef inc(x: int) -> int:\n",
    "canonical_solution": "    return x + 1\n",
    "buggy_solution": "    return x\n",
    "bug_type": "missing logic",
    "failure_symptoms": "incorrect output",
    "entry_point": "inc",
    "import": "",
    "test_setup": "",
    "test": "\n\ndef check(inc):\n    assert inc(1) == 2\n    assert inc(2) == 3\n\ncheck(inc)",
    "example_test": "def check(inc):\n    assert inc(1) == 2\ncheck(inc)",
    "signature": "inc(x: int) -> int",
    "docstring": "Add one.",
    "instruction": "Write a Python function `inc(x: int) -> int`.",
}
LEETCODE_2: dict[str, Any] = {
    "task_id": "add-one",
    "prompt": "from typing import *\nfrom math import *\nimport math\ninf = float('inf')\n",
    "completion": "class Solution:\n    def inc(self, x: int) -> int:\n        return x + 1\n",
    "entry_point": "Solution().inc",
    "test": "def check(candidate):\n    assert candidate(x = 1) == 2\n",
    "query": (
        "Add one.\nPlease complete the following python code precisely:\n```python\nclass Solution:\n    ...\n```"
    ),
    "response": "",
    "input_output": [{"input": "x=1", "output": "2"}, {"input": "x = 7", "output": "8"}],
    "meta": {
        "question_id": 1,
        "difficulty": "Meidum",
        "question_title": "Add one.\n\nExample 1: 1 gives 2.\n\n",
        "lang_code": "class Solution:\n    def inc(self, x: int) -> int:",
    },
}
LEETCODE_3: dict[str, Any] = {
    **{key: value for key, value in LEETCODE_2.items() if key != "meta"},
    "question_id": 1,
    "difficulty": "Hard",
    "tags": [],
    "problem_description": "Add one.\n\nExample 1: 1 gives 2.\n\n",
    "starter_code": "class Solution:\n    def inc(self, x: int) -> int:\n        ",
}
CODECONTESTS: dict[str, Any] = {
    "name": "1_A. Doubling",
    "description": "Print it doubled.\n",
    "public_tests": {"input": ["1\n"], "output": ["2\n"]},
    "private_tests": {"input": ["5\n"], "output": ["10\n"]},
    "generated_tests": {"input": ["-3\n"], "output": ["-6\n"]},
    "source": 2,
    "difficulty": 7,
    "solutions": {"language": [2, 3, 3], "solution": ["int main(){}", "print 1", "print(int(input()) * 2)\n"]},
    "incorrect_solutions": {"language": [3], "solution": ["print(0)\n"]},
    "cf_contest_id": 1,
    "cf_index": "A",
    "cf_points": 0.0,
    "cf_rating": 800,
    "cf_tags": ["math"],
    "is_description_translated": False,
    "untranslated_description": "",
    "time_limit": {"seconds": 2, "nanos": 500000000},
    "memory_limit_bytes": 256000000,
    "input_file": "",
    "output_file": "",
}
CODECONTESTS_PLUS: dict[str, Any] = {
    "source": "Codeforces",
    "id": "1_A",
    "title": "Doubling",
    "description": "Print it doubled.\n",
    "time_limit": 2000,
    "memory_limit": 256,
    "validator": "#include <testlib.h>",
    "generator": "#include <testlib.h>",
    "generator_cmd": "./gen -n 1",
    "checker": "",
    "correct_submissions": [
        {"code": "int main(){}", "language": "cpp"},
        {"code": "print 1", "language": "py2"},
        {"code": "print(int(input()) * 2)\n", "language": "py3"},
    ],
    "incorrect_submissions": [{"code": "print(0)\n", "language": "py3"}],
    "test_cases": [{"input": "1\n", "output": "2\n"}, {"input": "-3\n", "output": "-6\n"}],
    "true_positive_rate": 1.0,
    "true_negative_rate": 1.0,
}
_CORNER_CASES = [{"input": {"stdin": f"{n}\n"}, "output": {"stdout": f"{2 * n}\n"}} for n in (1, -3)]
CODECONTESTS_O: dict[str, Any] = {
    "name": "2_A. Doubling",
    "description": "Print it doubled.\n",
    "corner_cases": _CORNER_CASES,
    "commands": ["./gen -n 1"],
    "generator": "#include <testlib.h>",
    "checker": None,
    "input_constraints_summary": "One number.",
    "results": [{"corner_cases": _CORNER_CASES[:1], "generate_commands": ["./gen -n 1"]}],
}
CODECONTESTS_REPO: dict[str, Any] = {
    "id": "1_a_add_one",
    "problem_md": (
        "# 1_A. Add\n\n**Difficulty:** 9\n\n## Description\n\nAdd one.\n\nExamples\n\nInput\n\n1\n\n## Source\n\nX\n"
    ),
    "main_py": "print(int(input()) + 1)\n",
    "inputs": ["1\n"],
    "outputs": ["2\n"],
}
_CALL = json.dumps({"inputs": [[1], [2]], "outputs": [[2], [3]], "fn_name": "inc"})
_SOLUTION = "def inc(x):\n    return x + 1\n"
VERL: dict[str, Any] = {
    "data_source": "own",
    "prompt": [{"role": "user", "content": "Add one."}],
    "ability": "code",
    "reward_model": {"style": "rule", "ground_truth": _CALL},
    "extra_info": {"split": "train", "index": 0, "reference": _SOLUTION},
}
DEEPCODER: dict[str, Any] = {
    "problem": "Add one.",
    "solutions": [f"```python\n{_SOLUTION}```"],
    "tests": _CALL,
    "starter_code": "",
    "metadata": {},
}
_FUNCTIONAL = [{"input": "1", "output": "2", "testtype": "functional", "metadata": {"func_name": "inc"}}]
DEEPCODER_LCB: dict[str, Any] = {**DEEPCODER, "tests": json.dumps(_FUNCTIONAL * 2)}
DEEPCODER_PRIME: dict[str, Any] = {
    **DEEPCODER,
    "tests": json.dumps([{"type": "function_call", "fn_name": "inc", "input": [1], "output": [2]}] * 2),
}
ACECODE: dict[str, Any] = {
    "id": "oss_1",
    "source": "oss",
    "question": "Add one.",
    "test_cases": ["assert inc(1) == 2", "assert inc(2) == 3"],
    "inferences": [
        {"model_name": "m", "completion": "def inc(x):\n    return 2\n", "pass_rate": 0.5},
        {"model_name": "m", "completion": f"Here it is:\n```python\n{_SOLUTION}```\n", "pass_rate": 1.0},
    ],
    "context_messages": [[{"role": "user", "content": "Add one."}]],
}
VERIFICATION_INFO: dict[str, Any] = {
    "source": "apps",
    "task_type": "verifiable_code",
    "in_source_id": "1",
    "prompt": "Add one.",
    "gold_standard_solution": f"```python\n{_SOLUTION}```",
    "verification_info": str(
        {
            "language": "python",
            "test_cases": [
                {"type": "function_call", "fn_name": "inc", "input": [1], "output": [2]},
                {"type": "function_call", "fn_name": "inc", "input": [2], "output": [3]},
            ],
        }
    ),
    "metadata": "{}",
    "problem_id": "vfc_1",
}
RSTAR: dict[str, Any] = {
    "question_id": "seed_1",
    "question": "Print one more.",
    "starter_code": "",
    "inputs": json.dumps(["1\n", "2\n"]),
    "outputs": json.dumps(["2\n", "3\n"]),
    "is_synthesized": [0, 1],
    "test_case_type": ["seed", "synthetic"],
    "func_name": "",
    "class_name": "",
    "code": "print(int(input()) + 1)\n",
}
_PRIVATE = json.dumps([{"input": "5", "output": "6", "testtype": "functional"}])
LIVECODEBENCH: dict[str, Any] = {
    "question_title": "Add one",
    "question_content": "Add one.",
    "platform": "leetcode",
    "question_id": "3000",
    "contest_id": "1",
    "contest_date": "2024-05-31T00:00:00",
    "starter_code": "class Solution:\n    def inc(self, x: int) -> int:\n        ",
    "difficulty": "easy",
    "public_test_cases": json.dumps([{"input": "1", "output": "2", "testtype": "functional"}]),
    "private_test_cases": base64.b64encode(zlib.compress(pickle.dumps(_PRIVATE))).decode(),
    "metadata": json.dumps({"func_name": "inc"}),
}
KODCODE: dict[str, Any] = {
    "style": "instruct",
    "subset": "Prefill",
    "question_id": "Prefill_1",
    "question": "Add one to a positive number.",
    "solution": "def inc(x):\n    if x < 0:\n        raise ValueError('negative')\n    return x + 1\n",
    "test": (
        "import pytest\nfrom solution import inc\n\n\n"
        "def test_one():\n    assert inc(1) == 2\n\n\n"
        "def test_more():\n    for n in range(2, 5):\n        assert inc(n) == n + 1\n\n\n"
        "def test_negative():\n    with pytest.raises(ValueError):\n        inc(-1)\n\n\n"
        "@pytest.mark.parametrize('x, y', [(7, 8), (8, 9)])\ndef test_both(x, y):\n    assert inc(x) == y\n"
    ),
    "test_info": [{"function_name": "inc", "parameter_list": "(x)", "function_declaration": "def inc(x):"}],
    "gpt_difficulty": "easy",
}
BIGCODEBENCH: dict[str, Any] = {
    "task_id": "BigCodeBench/0",
    "complete_prompt": 'import json\n\ndef task_func(x):\n    """Return a number as JSON."""\n',
    "instruct_prompt": "Return a number as JSON.",
    "canonical_solution": "    return json.dumps(x)\n",
    "code_prompt": "import json\ndef task_func(x):\n",
    "test": (
        "import unittest\n\nclass TestCases(unittest.TestCase):\n"
        "    def setUp(self):\n        self.number = 7\n"
        "    def test_case_1(self):\n        self.assertEqual(task_func(self.number), '7')\n"
        "    def test_case_2(self):\n        self.assertEqual(task_func(0.5), '0.5')\n"
    ),
    "entry_point": "task_func",
    "doc_struct": "{}",
    "libs": "['json']",
}
CLASSEVAL: dict[str, Any] = {
    "task_id": "ClassEval_0",
    "skeleton": (
        "import math\n\nclass Circle:\n    def __init__(self, radius):\n        self.radius = radius\n\n"
        '    def area(self):\n        """\n        Return the area.\n        """\n'
    ),
    "test": (
        "import unittest\n\nclass CircleTestArea(unittest.TestCase):\n"
        "    def test_area_1(self):\n        self.assertAlmostEqual(Circle(1).area(), math.pi)\n\n"
        "    def test_area_2(self):\n        self.assertEqual(Circle(0).area(), 0)\n\n\n"
        "class CircleTest(unittest.TestCase):\n    def test_circle(self):\n        circle = Circle(2)\n"
        "        circle.radius = 3\n        self.assertAlmostEqual(circle.area(), 9 * math.pi)\n"
    ),
    "solution_code": (
        "class Circle:\n    def __init__(self, radius):\n        self.radius = radius\n\n"
        "    def area(self):\n        return math.pi * self.radius ** 2\n"
    ),
    "import_statement": ["import math"],
    "class_description": '    """A circle."""\n',
    "class_name": "Circle",
    "test_classes": ["CircleTestArea", "CircleTest"],
    "class_constructor": "class Circle:\n    def __init__(self, radius):\n        self.radius = radius\n",
    "fields": ["self.radius"],
    "methods_info": [{"method_name": "area", "test_class": "CircleTestArea", "test_code": "class ..."}],
}
CODEFORCES: dict[str, Any] = {
    "id": "1/A",
    "contest_id": "1",
    "title": "Doubling",
    "description": "Print it doubled.",
    "input_format": "A number.",
    "output_format": "A number.",
    "interaction_format": None,
    "note": None,
    "examples": [{"input": "1", "output": "2"}],
    "official_tests": [{"input": "1\n", "output": "2\n"}, {"input": "3\n", "output": "6\n"}],
    "official_tests_complete": True,
    "input_mode": "stdio",
    "generated_checker": None,
    "generated_tests": 0,
    "time_limit": 2.0,
    "memory_limit": 256.0,
}
_INC = "def inc(x):\n    return x\n"
# One row for each format, under its name.
EVERY_FORMAT: dict[str, Example] = {
    "deepcoder": Example(DEEPCODER, _INC, {"tests": "{"}, "`tests` is not valid JSON", 2),
    "stepcoder": Example(OURS, "print(1)\n", {"prompt": 1}, "`prompt` is 1"),
    "apps_plus": Example(APPS_PLUS, "def AbCdE():\n    print(2)\n", {"inputs": 1}, "`inputs` is 1"),
    "taco": Example(TACO, "print(1)\n", {"input_output": "{"}, "`input_output` is not valid JSON", 2),
    "apps": Example(APPS, "print(2)\n", {"solutions": "{}"}, "`solutions` is {}"),
    "mbpp": Example(MBPP, _INC, {"test_list": "assert 1"}, "`test_list` is 'assert 1'", 2),
    "mbpp_plus": Example(MBPP_PLUS, "def half(xs):\n    return sum(xs) / 2 or 1\n", {"test": 3}, "`test` is 3", 5),
    "mbpp_sanitized": Example(MBPP_SANITIZED, "def volume(r):\n    return r\n", {"code": 1}, "`code` is 1"),
    "evalplus": Example(EVALPLUS, "def inc(x):\n    return x + 1\n", {"atol": "x"}, "`atol` is 'x'", 5),
    "humanevalpack": Example(HUMANEVAL_PACK, _INC, {"entry_point": None}, "`entry_point` is None"),
    "humaneval": Example(HUMANEVAL, _INC, {"test": "assert inc(1) == 2"}, "`check(candidate)`"),
    "leetcode": Example(
        LEETCODE_2,
        "class Solution:\n    def inc(self, x):\n        return 2\n",
        {"prompt": "a b"},
        "`tests.preamble`",
        2,
    ),
    "codecontests": Example(
        CODECONTESTS, "print(abs(int(input())) * 2)\n", {"public_tests": {"input": 1}}, "`public_tests` is", 3
    ),
    "codecontests_plus": Example(
        CODECONTESTS_PLUS, "print(2)\n", {"checker": "#include <testlib.h>"}, "has a checker in C++", 2
    ),
    "codecontests_o": Example(
        CODECONTESTS_O,
        "print(2)\n",
        {"corner_cases": [{"input": "1", "output": "2"}]},
        "must have `input.stdin`",
        2,
        solution="print(2 * int(input()))\n",
    ),
    "codecontests_repo": Example(CODECONTESTS_REPO, "print(1)\n", {"outputs": []}, "`tests.outputs` is empty"),
    "verl": Example(
        VERL, _INC, {"reward_model": {"ground_truth": "42"}}, "`reward_model.ground_truth` that is not tests", 2
    ),
    "acecode": Example(ACECODE, _INC, {"test_cases": "inc"}, "`test_cases` is", 2),
    "verification_info": Example(VERIFICATION_INFO, _INC, {"verification_info": 1}, "`verification_info` is 1", 2),
    "rstar_coder": Example(RSTAR, "print(2)\n", {"inputs": "["}, "`inputs` is not valid JSON", 2),
    "livecodebench": Example(
        LIVECODEBENCH,
        _INC,
        {"private_test_cases": "!"},
        "`private_test_cases` cannot be decoded",
        2,
        solution=_SOLUTION,
    ),
    "kodcode": Example(
        KODCODE,
        "def inc(x):\n    return x + 1\n",
        {"test": "def test_a(capsys):\n    pass\n"},
        "needs the fixture `capsys`",
        5,
    ),
    "bigcodebench": Example(
        BIGCODEBENCH,
        "def task_func(x):\n    return '7'\n",
        {"libs": "['json', 'pandas']"},
        "needs pandas",
        2,
        trusted=False,
    ),
    "classeval": Example(
        CLASSEVAL,
        "class Circle:\n    def __init__(self, radius):\n        self.radius = 1\n\n"
        "    def area(self):\n        return math.pi * self.radius ** 2\n",
        {"import_statement": ["import math", "import numpy as np"]},
        "needs numpy",
        3,
        trusted=False,
    ),
    "codeforces": Example(
        CODEFORCES, "print(2)\n", {"input_mode": "file"}, "reads a file", 2, solution="print(2 * int(input()))\n"
    ),
}
