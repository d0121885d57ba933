"""Test which tests can run in the examiner."""

from __future__ import annotations

import ast
import time

import pytest

from stepcoder_trl.executor.verdict.asserts import with_tolerance
from stepcoder_trl.executor.verdict.examinable import plan_check, share_names


CHECK = "def check(candidate):\n    assert candidate(1) == 2\n"
NODES = (
    "import sys\nfrom math import pi\n\nclass Node:\n    pass\n\ndef node(value):\n    return Node()\n\n"
    "def same(a, b):\n    return a is b or a == b\n"
)


def check_with(line: str) -> str:
    return f"def check(candidate):\n    {line}\n"


@pytest.mark.parametrize(
    ("statement", "candidates"),
    [
        ("check(f)", ("f",)),
        ("check(candidate=f)", ("f",)),
        ("check(Solution().f)", ("Solution().f",)),
        ("assert all(f(n) == n for n in range(3))", ("f",)),
        ("assert f(1) == 3 and g(2) == 3", ("f", "g")),
        ("assert max(f(1), key=lambda text: text.lower()) == 'a'", ("f",)),
        ("assert sum(map(int, f(1))) == 3", ("f",)),
        ("f(1)", ("f",)),
        ("check(register)", ("register",)),
    ],
)
def test_calls_of_program_are_found(statement, candidates):
    check = plan_check(statement, CHECK, "")

    assert check is not None
    assert check.candidates == candidates
    assert "_candidate_0" in check.statement


@pytest.mark.parametrize(
    "statement",
    [
        "check(sum)",  # `sum` is taken as the builtin
        "assert isinstance(f(1), Node)",
        "assert f == 1",
        "assert [Solution().f(n) for n in range(2)] == [0, 1]",  # a new object each time
        "assert Solution(3).f(1) == 2",
        "assert f(1).left == 2",
        "assert f(1)(2) == 2",
        "assert next(f(1)) == 2",
        "assert same(Node(1), Node(1))",
        "assert f(1) == Point(1, 2)",
        "assert f('2020-01-01') == date(2020, 1, 1)",
        "assert callable(f(1))",
        "assert iter(f(1)) is not None",
        "assert list(map(f(3), [1, 2])) == [4, 5]",
        "assert list(filter(f(3), [1, 2])) == [1]",
        "assert sum(map(f(3), [1, 2])) == 9",
        "assert sorted([1, 2], key=f(3)) == [2, 1]",
        "assert max(f(3), key=lambda node: node.size) == 1",
        "assert max(f(3)).size == 1",
        "assert (f(3) + f(4)).size == 1",
        "assert Counter(f(3)).most_common(1)[0][0].size == 1",
        "assert sum(map(lambda node: node.size, f(3))) == 9",
        "assert functools.reduce(f(3), [1, 2]) == 3",
        "assert hasattr(f(1), 'x') == True",
        "assert getattr(f(1), 'x') == 1",
        "assert re.match(f('a'), 'abc')",
        "assert re.sub('a', f(1), 'abc') == 'xbc'",
        "f.x = 1",
        "del f",
        "import os",
    ],
)
def test_objects_that_cannot_be_sent_need_program(statement):
    assert plan_check(statement, CHECK, "") is None


@pytest.mark.parametrize(
    "line",
    [
        "assert candidate.__name__ == 'f'",
        "assert candidate(helper_of_the_program(1)) == 2",
        "candidate = print",
        "assert list(map(candidate, [1])) == [2]",
        "assert candidate(lambda n: n) == 2",
        "assert candidate(n for n in range(2)) == 2",
        "assert candidate(len) == 2",
        "assert candidate(node(1)) == 2",
        "assert candidate(sys.maxsize) == 2",
        "a = [1]; assert candidate(a) is a",
        "import os; assert candidate(os.getpid()) == 2",
        "import random; random.seed(1); assert candidate(1) == 2",
        "from random import seed; seed(1); assert candidate(1) == 2",
        "import math; math.pi = 3; assert candidate(1) == 2",
        "assert open('x') and candidate(1)",
        "assert eval('candidate')(1) == 2",
        "assert candidate(1).__class__ == int",
        "from math import *; assert candidate(1) == 2",
        "from decimal import getcontext; assert candidate(1) == getcontext().prec",
        "import decimal; decimal.setcontext(decimal.Context()); assert candidate(1) == 2",
        "from collections.abc import Iterator; assert isinstance(candidate(1), Iterator)",
        "import numpy as np; np.seterr(all='raise'); assert candidate(1) == 2",
        "from numpy import set_printoptions as show; show(precision=2); assert candidate(1) == 2",
        "from enum import Enum; assert isinstance(candidate(1), Enum)",
    ],
)
def test_checks_that_need_the_process_run_with_program(line):
    assert plan_check("check(f)", check_with(line), NODES) is None


def test_preamble_helpers_are_allowed_unless_they_create_objects():
    assert plan_check("check(f)", check_with("assert same(candidate(pi), 1)"), NODES) is None  # `is`
    tame = NODES.replace("a is b or ", "")
    assert plan_check("check(f)", check_with("assert same(candidate(pi), 1)"), tame) is not None
    assert plan_check("check(f)", check_with("assert same(candidate(1), node(1))"), tame) is None


def test_import_of_the_standard_library_that_no_test_uses_is_allowed():
    assert plan_check("check(f)", "import os, sys.path as p\nfrom threading import Lock\n" + CHECK, "") is not None
    assert plan_check("check(f)", "import os, math\n" + check_with("assert candidate(1) == math.pi"), "") is not None
    assert plan_check("check(f)", "import os\n" + check_with("assert candidate(os.sep) == '/'"), "") is None
    assert plan_check("check(f)", "from os import *\n" + CHECK, "") is None
    assert plan_check("check(f)", "import torch\n" + CHECK, "") is None  # too large for the examiner's limits


def test_preamble_with_other_statements_runs_with_program():
    assert plan_check("check(f)", CHECK, "import sys\nsys.setrecursionlimit(10**6)\n") is None
    assert plan_check("check(f)", CHECK, "import sys\ninf = float('inf')\n") is not None


@pytest.mark.parametrize(
    ("statement", "tolerant"),
    [
        ("assert f(1) == 0.5", "assert _equal_with_tolerance(f(1), 0.5)"),
        ("assert not 0.5 == f(1)", "assert not _equal_with_tolerance(0.5, f(1))"),
        ("assert f(1)[0.1 == 0.2] != 0.5", "assert f(1)[0.1 == 0.2] != 0.5"),
        ("assert f(0.1 == 0.2) == 0.5", "assert _equal_with_tolerance(f(0.1 == 0.2), 0.5)"),
    ],
)
def test_tolerance_is_that_of_the_test_alone(statement, tolerant):
    assert with_tolerance(statement) == tolerant


@pytest.mark.parametrize(
    ("line", "shares"),
    [
        ("assert candidate([1, 2], n=[3]) == 2", False),
        ("assert candidate(list('ab'), list(map(abs, [1]))) == 2", True),
        ("assert candidate(list('ab')) == 2", False),
        ("a = [1]; candidate(a); assert a == [2]", True),
        ("a = [1]; candidate(n=(a, 2)); assert a == [2]", True),
    ],
)
def test_arguments_are_shared_if_check_may_read_them(line, shares):
    check = plan_check("check(f)", check_with(line), "")

    assert check is not None
    assert check.shares_arguments is shares


@pytest.mark.parametrize(
    "line",
    [
        "import collections; assert candidate(1) == collections.deque([1])",
        "from fractions import Fraction; assert candidate(1) == Fraction(1, 2)",
        "from decimal import Decimal; assert isinstance(candidate(1), (int, Decimal))",
        "import datetime; assert candidate(1) == datetime.date(2020, 1, 2)",
        "assert list(candidate(1)) == [2]",
        "assert str(candidate(1)) == 'A'",
        "import collections; assert collections.Counter(candidate(1)).most_common(1) == [(1, 2)]",
        "import re; assert re.match('(a)', candidate(1)).group(1) == 'a'",
        "import numpy as np; assert np.array(candidate(1)).shape == (2, 3)",
        "assert type(candidate(1)) == list and type(candidate(1)[0]) == type(None) != type(2)",
    ],
)
def test_standard_library_values_run_in_examiner(line):
    assert plan_check("check(f)", check_with(line), "") is not None


def test_function_may_be_passed_to_helpers():
    setup = "def twice(function, n):\n    return function(function(n))\n" + check_with(
        "assert twice(candidate, 1) == 3"
    )

    check = plan_check("check(f)", setup, "")

    assert check is not None


def test_check_that_a_statement_defines_is_examined():
    statement = CHECK + "check(f)"

    check = plan_check(statement, "", "")

    assert check is not None
    assert check.candidates == ("f",)


@pytest.mark.parametrize(
    ("statements", "share"),
    [
        (("x = f(1)", "assert x == 2"), True),
        (("import math", "assert f(1) == math.pi"), True),
        (("assert f(1) == 2", "assert g(2) == 3"), False),
        ((CHECK + "check(f)", CHECK + "check(g)"), False),
        ((CHECK, "check(g)"), True),
        (("x = f(1)", "y = f(2)"), False),
        (("x =", "y = f(2)"), True),
    ],
)
def test_names_for_other_tests_are_found(statements, share):
    assert share_names(statements) is share


@pytest.mark.parametrize(
    "line",
    [
        "import numpy as np; assert candidate(np.array([1])) == 1",
        "import numpy; assert candidate([numpy.int64(1)]) == 1",
        "from numpy import zeros as z; assert candidate(n=z(3)) == 1",
        "import numpy.random; assert candidate(numpy.random.rand(3)) == 1",
        "import numpy as np; values = np.array([1]); assert candidate(values) == 1",
        "key = lambda n: n; assert candidate([1], key) == 1",
        "assert candidate([1], key=str) == 1",
        "assert candidate([str, 1]) == 1",
        "assert candidate([lambda n: n]) == 1",
        "assert candidate(iter([1])) == 1",
        "values = map(str, [1]); assert candidate(values) == 1",
    ],
)
def test_arguments_that_cannot_be_sent_need_program(line):
    assert plan_check("check(f)", check_with(line), "") is None


def test_long_chain_of_names_is_followed_quickly():
    lines = [f"v{number} = v{number + 1}" for number in range(1500)]
    statement = "\n".join([*lines, "v1500 = f(1)", "assert v0 == 1"])
    start = time.process_time()

    assert plan_check(statement, "", "") is not None
    assert plan_check(f"{statement}\nv0.left", "", "") is None
    assert time.process_time() - start < 5


def test_setup_is_read_once_for_all_tests_of_a_row(monkeypatch):
    walked = []
    walk = ast.walk
    monkeypatch.setattr(ast, "walk", lambda node: (walked.append(part) or part for part in walk(node)))
    pairs = ", ".join(f"[{number}, {number * 7}]" for number in range(500))
    setup, preamble = f"table = [{pairs}]\n", f"import math\nOTHERS = [{pairs}]\n"
    plan_check("assert f(table[0][0]) == table[0][1]", setup, preamble)
    walked.clear()

    planned = plan_check("assert f(table[1][0]) == table[1][1]", setup, preamble)

    assert planned is not None
    assert len(walked) < 1000
