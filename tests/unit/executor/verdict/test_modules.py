"""Test modules of pytest and unittest, as asserts."""

from __future__ import annotations

import contextlib
import math

import numpy as np
import pytest

from stepcoder_trl.errors import BadInputError, NoTestsError
from stepcoder_trl.executor.verdict.modules import asserts_of_module
from stepcoder_trl.executor.verdict.schema import validate_tests


def asserts(code: str) -> list[str]:
    return asserts_of_module(code).asserts


def test_function_that_only_asserts_becomes_its_asserts():
    assert asserts("from solution import f\n\ndef test_a():\n    'Text.'\n    assert f(1) == 2, 'm'\n") == [
        "assert f(1) == 2, 'm'"
    ]


@pytest.mark.parametrize(
    "start", ["from solution import f", "import solution as s", "import solution", "from solution import *"]
)
def test_program_is_in_scope_and_as_solution(start):
    call = {"import solution as s": "s.f", "import solution": "solution.f"}.get(start, "f")

    module = asserts_of_module(f"{start}\ndef test_a():\n    assert {call}(1) == 2\n")

    assert module.asserts == ["assert f(1) == 2"]
    assert "solution" not in module.setup


def test_alias_of_a_name_of_the_program_is_replaced():
    assert asserts("from solution import f as g\ndef test_a():\n    assert g(1) == 2\n") == ["assert f(1) == 2"]


def test_function_that_binds_names_stays_a_function():
    (statement,) = asserts("def test_a():\n    x = f(1)\n    assert x == 2\n")

    assert statement == "def test_a():\n    x = f(1)\n    assert x == 2\ntest_a()"


def test_each_set_of_parameters_is_a_test():
    code = (
        "import pytest\n@pytest.mark.parametrize('x, y', [(1, 2), pytest.param(3, 4, id='b')])\n"
        "@pytest.mark.parametrize('z', [[5], 6])\ndef test_a(x, y, z):\n    assert f(x, z) == y\n"
    )

    assert asserts(code) == [
        "assert f(1, [5]) == 2",
        "assert f(1, 6) == 2",
        "assert f(3, [5]) == 4",
        "assert f(3, 6) == 4",
    ]


def test_approx_becomes_closeness():
    code = "import pytest\ndef test_a():\n    assert f(1) == pytest.approx(0.5, abs=1e-3)\n"

    assert asserts(code) == ["assert _isclose_(f(1), 0.5, rel_tol=0, abs_tol=0.001)"]


@pytest.mark.parametrize(
    ("statement", "base"),
    [
        ("import unittest", "unittest.TestCase"),
        ("from unittest import TestCase", "TestCase"),
        ("import unittest as u", "u.TestCase"),
    ],
)
@pytest.mark.parametrize("is_plain", [True, False])
def test_setup_imports_unittest_only_where_it_is_used(statement, base, is_plain):
    more = "" if is_plain else "        self.x = 1\n"
    body = f"    def test_a(self):\n        self.assertEqual(f(1), 2)\n        self.assertEqual(f(2), 3)\n{more}"
    module = asserts_of_module(f"{statement}\nclass T({base}):\n{body}")

    assert (statement in module.setup) is not is_plain


@pytest.mark.parametrize(
    ("tolerances", "used"),
    [
        ("", "rel_tol=1e-06, abs_tol=1e-12"),
        (", 0.1", "rel_tol=0.1, abs_tol=1e-12"),
        (", rel=None", "rel_tol=1e-06, abs_tol=1e-12"),
        (", None, 0.1", "rel_tol=0, abs_tol=0.1"),
        (", rel=0.2, abs=0.1", "rel_tol=0.2, abs_tol=0.1"),
    ],
)
def test_tolerances_are_those_of_pytest(tolerances, used):
    code = f"import pytest\ndef test_a():\n    assert f(1) == pytest.approx(0.5{tolerances})\n"

    assert asserts(code) == [f"assert _isclose_(f(1), 0.5, {used})"]


@pytest.mark.parametrize("expected", ["0.5", "[0.5]"])
@pytest.mark.parametrize("answer", [None, "a", [None], 0.6])
def test_what_is_no_number_is_not_close(answer, expected):
    code = f"import pytest\ndef test_a():\n    x = f(1)\n    assert x == pytest.approx({expected})\n"
    module = asserts_of_module(code)

    with pytest.raises(AssertionError):
        exec(f"{module.setup}\n{module.asserts[0]}", {"f": lambda x: answer})


def test_functions_of_a_module_keep_their_names():
    code = "def _isclose(a, b):\n    return abs(a - b) < 0.1\ndef test_a():\n    assert _isclose(f(1), 0.5)\n"
    module = asserts_of_module(code)

    exec(f"{module.setup}\n{module.asserts[0]}", {"f": lambda x: 0.55})


@pytest.mark.parametrize("first", ["assert f(1) == pytest.approx(0.5)", "found = f(1)"])
def test_closeness_needs_nothing_of_the_program_and_changes_nothing(first):
    body = f"    {first}\n    assert f(1) == pytest.approx(0.5)\n"
    module = asserts_of_module(f"import pytest\ndef test_a():\n{body}")

    names = {"f": lambda x: 0.5, "math": None}

    exec(f"{module.setup}\n{module.asserts[0]}", names)

    assert names["math"] is None


@pytest.mark.parametrize(
    ("arguments", "answer"),
    [
        ("f(1), 0.5", 0.5 + 1e-8),
        ("f(1), 2", 2 + 1e-9j),
        ("0.5, f(1)", 0.5),
        ("f(1), 2j", 2j + 1e-9),
        ("2j, f(1)", 2j),
        ("f(1), [1.0]", [1.0]),
    ],
)
def test_values_are_almost_equal_as_for_unittest(arguments, answer):
    test = "import unittest\nclass T(unittest.TestCase):\n    def test_a(self):\n        x = 1\n"
    module = asserts_of_module(f"{test}        self.assertAlmostEqual({arguments})\n")

    exec(f"{module.setup}\n{module.asserts[0]}", {"f": lambda x: answer})
    with pytest.raises((AssertionError, TypeError)):
        exec(f"{module.setup}\n{module.asserts[0]}", {"f": lambda x: 0.6})


@pytest.mark.parametrize(
    ("answer", "is_right"), [([2, 3], True), ((2, 3), True), ([2], False), ([3, 2], False), ({2, 3}, False)]
)
def test_sequences_are_equal_whatever_their_type(answer, is_right):
    test = "import unittest\nclass T(unittest.TestCase):\n    def test_a(self):\n"
    module = asserts_of_module(f"{test}        self.assertSequenceEqual(f(1), [2, 3])\n")

    with contextlib.nullcontext() if is_right else pytest.raises((AssertionError, TypeError)):
        exec(f"{module.setup}\n{module.asserts[0]}", {"f": lambda x: answer})


@pytest.mark.parametrize("expected", ["np.array([0.5, 1.5])", "[x / 2 for x in (1, 3)]"])
@pytest.mark.parametrize("answer", [[0.5, 1.5 + 1e-9], np.array([0.5, 1.5])])
def test_arrays_are_close_to_lists(expected, answer):
    module = asserts_of_module(
        f"import numpy as np\nimport pytest\ndef test_a():\n    assert f(1) == pytest.approx({expected})\n"
    )

    exec(f"{module.setup}\n{module.asserts[0]}", {"f": lambda x: answer})
    with pytest.raises(AssertionError):
        exec(f"{module.setup}\n{module.asserts[0]}", {"f": lambda x: [*answer, 2.0]})


@pytest.mark.parametrize(
    ("answer", "expected"), [(5, "math.inf"), ([5], "[math.inf]"), (-1e308, "-math.inf"), ([1, 5], "[1, math.inf]")]
)
def test_nothing_but_infinity_is_close_to_infinity(answer, expected):
    module = asserts_of_module(
        f"import math\nimport pytest\ndef test_a():\n    assert f(1) == pytest.approx({expected})\n"
    )

    def run(value):
        exec(f"{module.setup}\n{module.asserts[0]}", {"f": lambda x: value})

    run(eval(expected, {"math": math}))
    with pytest.raises(AssertionError):
        run(answer)


@pytest.mark.parametrize(
    ("method", "statement"),
    [
        ("self.assertEqual(f(1), 2)", "assert f(1) == 2"),
        ("self.assertEqual(f(1), x or y, 'm')", "assert f(1) == (x or y)"),
        ("self.assertTrue(f(1))", "assert f(1)"),
        ("self.assertIn(3, f(1))", "assert 3 in f(1)"),
        ("self.assertIsNone(f(1))", "assert f(1) is None"),
        ("self.assertSequenceEqual(f(1), (2, 3))", "assert _same_sequence_(f(1), (2, 3))"),
        ("self.assertAlmostEqual(f(1), -2j)", "assert _almost_(f(1), -2j)"),
    ],
)
def test_methods_that_only_assert_become_asserts(method, statement):
    module = asserts_of_module(
        f"import unittest\nclass T(unittest.TestCase):\n    def test_a(self):\n        {method}\n"
    )

    assert module.asserts == [statement]


@pytest.mark.parametrize(
    "body", ["self.x = 1", "self.assertLogs('x')", "self.assertEqual(f(1), 2, msg='m')", "return 1"]
)
def test_other_methods_run_with_unittest(body):
    module = asserts_of_module(
        f"import unittest\nclass T(unittest.TestCase):\n    def test_a(self):\n        {body}\n"
    )

    assert module.asserts == ["unittest.TestSuite([T('test_a')]).debug()"]
    assert "class T(unittest.TestCase)" in module.setup


@pytest.mark.parametrize(
    ("code", "part"),
    [
        ("def test_a(tmp_path):\n    pass\n", "the fixture `tmp_path`"),
        ("import pytest\n@pytest.mark.skip\ndef test_a():\n    pass\n", "`@pytest.mark.skip`"),
        ("import pytest\n@pytest.fixture\ndef x():\n    pass\ndef test_a():\n    pass\n", "uses pytest in a way"),
        ("import pytest as p\ndef test_a():\n    pass\n", "imports pytest under another name"),
        ("def test_a(:\n", "must be Python"),
    ],
)
def test_module_that_cannot_be_run_gives_one_clear_line(code, part):
    with pytest.raises(BadInputError, match=part) as error:
        validate_tests({"type": "unittest", "code": code}, "rows.jsonl:1")

    assert str(error.value).startswith("rows.jsonl:1: `tests.code`")
    assert "\n" not in str(error.value)


def test_module_without_tests_is_refused():
    with pytest.raises(NoTestsError, match="has no test"):
        validate_tests({"type": "unittest", "code": "def helper():\n    pass\n"})


SOLUTION = "def f(x):\n    if x < 0:\n        raise ValueError(f'negative: {x}')\n    return [x / 3]\n"
MODULE = """
import pytest
import unittest
from unittest import TestCase
from solution import f

THIRD = 1 / 3

def helper(value):
    return [value]

def test_raises():
    with pytest.raises(ValueError, match="negative") as caught:
        f(-1)
    assert "-1" in str(caught.value)

def test_approx():
    assert f(1) == pytest.approx([THIRD])

class TestPlain:
    def test_with_state(self):
        self.found = f(3)
        assert self.found == helper(1)

class TestClass(TestCase):
    def test_equal(self):
        self.assertEqual(f(3), [1])
    def test_raises(self):
        with self.assertRaises(ValueError):
            f(-2)
    def test_several(self):
        for x in range(3):
            with self.subTest(x=x):
                self.assertAlmostEqual(f(x)[0], x / 3, places=3)

if __name__ == "__main__":
    unittest.main()
"""


@pytest.mark.sandbox
def test_module_runs(executor):
    tests = {"type": "unittest", "code": MODULE}

    right, wrong, late = executor.run_many(
        [SOLUTION, "def f(x):\n    return [1]\n", "def f(x):\n    pass\n"], [tests] * 3
    )

    assert [(test.outcome, test.message) for test in right.tests] == [("passed", "")] * 6
    assert [str(test.outcome) for test in wrong.tests] == ["failed", "failed", "passed", "passed", "failed", "failed"]
    assert "passed" not in [str(test.outcome) for test in late.tests]


@pytest.mark.sandbox
def test_plain_tests_are_judged_outside(executor):
    code = "import pytest\nfrom solution import f\ndef test_a():\n    x = f(3)\n    assert x == [1]\n\n"
    code += "def test_b():\n    with pytest.raises(ValueError):\n        f(-1)\n"

    execution = executor.run(SOLUTION, {"type": "unittest", "code": code})

    assert execution.outcome == "passed"
    assert execution.trusted


ADD = "def add(a, b):\n    return a + b\n"


@pytest.mark.sandbox
@pytest.mark.parametrize(
    "code",
    [
        "import solution\ndef test_a():\n    s = solution\n    assert s.add(1, 2) == 3\n",
        "def test_a():\n    s = solution\n    assert s.add(1, 2) == 3\n",
        "import solution as sol\ndef test_a():\n    assert hasattr(sol, 'add')\n    assert not hasattr(sol, 'sub')\n",
        "def test_a():\n    assert getattr(solution, 'add')(1, 2) == 3\n",
        "import solution\ndef test_a():\n    add = solution.add(1, 2)\n    assert add == 3\n",
        "from solution import add as f\ndef test_a():\n    add = 1\n    assert f(add, 2) == 3\n",
        "import solution\ndef test_a():\n    solution.c = 3\n    assert solution.c == solution.add(1, 2)\n",
        "def test_a():\n    solution = [add(1, 2)]\n    assert solution.count(3) == 1\n",
        "try:\n    from solution import add\nexcept ImportError:\n    pass\ndef test_a():\n    assert add(1, 2)\n",
    ],
)
def test_right_program_passes_however_it_is_named(executor, code):
    tests = {"type": "unittest", "code": code}

    right, wrong = executor.run_many([ADD, "def sub(a, b):\n    return a - b\n"], [tests] * 2)

    assert [test.message for test in right.tests] == [""]
    assert wrong.outcome != "passed"


@pytest.mark.sandbox
@pytest.mark.parametrize(
    "code",
    [
        "def test_a():\n    assert solution(3) == 4\n",
        "f = solution\ndef test_a():\n    assert f(3) == 4\n",
    ],
)
def test_program_may_have_a_function_of_the_name(executor, code):
    program = "def solution(x):\n    return x + 1\n"

    assert executor.run(program, {"type": "unittest", "code": code}).outcome == "passed"


@pytest.mark.parametrize(
    ("code", "part"),
    [
        ("from solution import add as f\ng = lambda f: f\ndef test_a():\n    assert f(1, g(1)) == 3\n", "binds `f`"),
        ("import solution as s\ndef test_a():\n    for s in 'ab':\n        assert s.add(s)\n", "binds `s`"),
        ("import solution\ndef add(a):\n    pass\ndef test_a():\n    assert solution.add(1) == 3\n", "binds `add`"),
        ("from solution import a as f\nfrom solution import b as f\ndef test_a():\n    assert f(1)\n", "two names"),
        ("import solution.part\ndef test_a():\n    assert solution.part.f(1)\n", "imports `solution.part`"),
        ("import sys\ndef test_a():\n    assert sys.modules['solution'].f(1)\n", "in a text"),
        (
            "def test_a():\n    assert solution.f(1)\ndef test_b():\n    solution = f(1)\n    assert solution.x\n",
            "both as the program and as a variable",
        ),
    ],
)
def test_ambiguous_name_of_the_program_is_refused(code, part):
    with pytest.raises(BadInputError, match=part):
        validate_tests({"type": "unittest", "code": code})


CASE = "import unittest\nclass T(unittest.TestCase):\n    def test_plain(self):\n        self.assertTrue(f(1))\n"


def test_skipped_tests_are_left_out():
    skipped = "    @unittest.skip('slow')\n    def test_b(self):\n        self.assertTrue(f(2))\n"
    whole = "@unittest.skip\nclass U(unittest.TestCase):\n    def test_c(self):\n        self.assertTrue(f(3))\n"

    assert asserts(CASE + skipped + whole) == ["assert f(1)"]
    with pytest.raises(BadInputError, match="all its tests are skipped"):
        validate_tests({"type": "unittest", "code": "import unittest\n" + whole})


PARAMETERS = "import pytest\n@pytest.mark.parametrize({})\ndef test_a({}):\n    {}\n"


@pytest.mark.parametrize(
    ("given", "part"),
    [
        ("'x', [pytest.param(1, marks=pytest.mark.xfail)]", "pytest.param"),
        ("'x', [1], indirect=True", "indirect"),
        ("'x', [*range(3)]", "wrong number of values"),
        ("'y', [1]", "does not take the parameters"),
    ],
)
def test_unusual_parameters_are_refused(given, part):
    with pytest.raises(BadInputError, match=part):
        validate_tests({"type": "unittest", "code": PARAMETERS.format(given, "x", "assert f(x)")})


@pytest.mark.sandbox
@pytest.mark.parametrize(
    "code",
    [
        PARAMETERS.format("'x', [[1, 2]]", "x", "assert [x for x in x] == f([1, 2])"),
        PARAMETERS.format("'x', [[1, 2]]", "x", "assert f(x) is x"),
        PARAMETERS.format("'x', [1]", "x", "assert (lambda x: f(x))(2) == x + 1"),
        PARAMETERS.format("'x', [None]", "x", "assert (x := f(3)) == 3"),
        (
            "import unittest\nclass Base(unittest.TestCase):\n    def setUp(self):\n        self.x = 4\n"
            "class T(Base):\n    def test_a(self):\n        self.assertEqual(f(self.x), 4)\n"
        ),
        "class TestA:\n    def setup_method(self, method):\n        self.x = method\n"
        "    def test_a(self):\n        assert f(self.x) == self.test_a\n",
        "class Base:\n    def setup_method(self):\n        self.x = 4\n"
        "class TestA(Base):\n    def test_a(self):\n        assert f(self.x) == 4\n",
        CASE.replace("assertTrue(f(1))", "assertCountEqual(f([3, 'a', [1]]), [[1], 'a', 3])"),
        CASE.replace("assertTrue(f(1))", "assertCountEqual(f(['b', 'a']), ['a', 'b'])"),
    ],
)
def test_right_program_passes(executor, code):
    right, wrong = executor.run_many(
        ["def f(x):\n    return x\n", "def f(x):\n    return [0]\n"], [{"type": "unittest", "code": code}] * 2
    )

    assert [test.message for test in right.tests] == [""]
    assert wrong.outcome != "passed"


def test_text_that_is_no_statement_is_refused():
    code = "def test_a():\n    nonlocal x\n    assert f(x)\n"

    with pytest.raises(BadInputError, match="no binding for nonlocal 'x' found, line 2"):
        validate_tests({"type": "unittest", "code": code})
