"""Tests that may combine results of two functions of the program run with it: both may be objects."""

from __future__ import annotations

import pytest

from stepcoder_trl.executor.verdict.examinable import plan_check


HELPERS = (
    "def same(a, b):\n    return a == b\n"
    "def check(move, make):\n"
    "    found = []\n    for n in range(3):\n        found.append(move(n))\n"
    "    assert found == [make(n) for n in range(3)]\n"
    "def check_each(move, make):\n    assert all(map(lambda a, b: a == b, [move(1)], [make(2)]))\n"
    "def all_equal(xs):\n    from itertools import groupby\n    return len(list(groupby(xs))) == 1\n"
    "def equals(x):\n    def inner(y):\n        return x == y\n    return inner\n"
    "kept = []\n"
    "def keep(x):\n    kept.append(x)\n"
    "def check_one(move):\n    assert move(1) == 2 and move(2) == move(2)\n"
)
COMPARING = {
    "variable": "p = moved(1)\nassert p == Point(2)",
    "two variables": "p = moved(1)\nq = Point(2)\nassert p != q",
    "list": "assert [moved(1)] == [Point(2)]",
    "dict": "assert {1: moved(1)} == {1: Point(2)}",
    "element": "found = [moved(1), 3]\nassert found[0] == Point(2)",
    "choice": "assert moved(1) in (Point(2), Point(3))",
    "method": "assert [moved(1)].count(Point(2)) == 1",
    "loop": "for a, b in zip([moved(1)], [Point(2)]):\n    assert a == b",
    "library": "import operator\nassert operator.eq(moved(1), Point(2))",
    "assignment expression": "assert (p := moved(1)) and p == Point(2)",
    "augmented": "p = [moved(1)]\np += [2]\nassert p == [Point(2), 2]",
    "function of the setup": "assert same(moved(1), Point(2))",
    "functions passed on": "check(moved, Point)",
    "functions passed on to a lambda": "check_each(moved, Point)",
    "keyword": "check(make=Point, move=moved)",
    "groups": "from itertools import groupby\nassert len(list(groupby([moved(1), Point(2)]))) == 1",
    "groups in a function": "assert all_equal([moved(1), Point(2)])",
    "lambda": "assert (lambda a, b: a == b)(moved(1), Point(2))",
    "lambda with a default": "assert (lambda a, b=Point(2): a == b)(moved(1))",
    "named lambda with a default": "same_here = lambda a, b=Point(2): a == b\nassert same_here(moved(1))",
    "named lambda": "same_here = lambda a, b: a == b\nassert same_here(*(moved(1), Point(2)))",
    "lambda over pairs": "assert all(map(lambda p: p[0] == p[1], [(moved(1), Point(2))]))",
    "nested function": (
        "def run(p=moved(1)):\n    def eq(q):\n        return p == q\n    return eq(Point(2))\nassert run()"
    ),
    "nested function passed on": (
        "def run():\n    p = moved(1)\n    def eq(q):\n        return p == q\n    return all(map(eq, [Point(2)]))\n"
        "assert run()"
    ),
    "function that is returned": "assert equals(moved(1))(Point(2))",
    "partial function": "import functools, operator\nassert functools.partial(operator.eq, moved(1))(Point(2))",
    "named partial": (
        "from functools import partial\nimport operator\nf = partial(operator.eq, moved(1))\nassert f(Point(2))"
    ),
    "starred": "import operator\nassert operator.eq(*[moved(1), Point(2)])",
    "starmap": "import itertools as it, operator\nassert all(it.starmap(operator.eq, [(moved(1), Point(2))]))",
    "guard": "match moved(1):\n    case x if x == Point(2):\n        pass\n    case _:\n        assert False",
    "pattern": "match (moved(1), Point(2)):\n    case (a, *b):\n        assert a == b[0]",
    "key": "assert sorted([1, 2], key=lambda n: [moved(1)].count(Point(2))) == [1, 2]",
    "texts": "assert str(moved(1)) == str(Point(2))",
    "text in a variable": "first = repr(moved(1))\nassert first == repr(Point(2))",
    "numbers": "assert float(moved(1)) == float(Point(2))",
    "lengths": "assert len(moved(1)) == len(other(1))",
    "changed argument": "found = [0]\nmoved(found)\nassert found == place(2)",
    "changed argument of a condition": "xs = [0]\nassert moved(xs) is None and xs == place(2)",
    "exception": "try:\n    moved(1)\nexcept ValueError as error:\n    seen = error.args[0]\nassert seen == place(2)",
    "capture": "match moved(1):\n    case kept:\n        pass\nassert kept == Point(2)",
    "comprehension that binds": "[kept := moved(n) for n in [1]]\nassert kept == Point(2)",
    "global": "def keep():\n    global kept\n    kept = moved(1)\nkeep()\nassert kept == Point(2)",
    "state of the setup": "keep(moved(1))\nassert kept[0] == Point(2)",
    "name of a builtin": "list = moved(1)\nassert list == Point(2)",
    "name of a module": "import math\nmath = moved(1)\nassert math == Point(2)",
    "element of a module": (
        "import numpy as np\nnp.typecodes.update(x=moved(1))\nassert np.typecodes['x'] == other(2)"
    ),
    "dict of a module": (
        "import numpy as np\nnp.typecodes.update(x=moved(1))\nassert np.typecodes.get('x') == other(2)"
    ),
    "inverse": "code = encode('a')\nassert decode(code) == 'a'",
    "judge": "value = moved(1)\nassert holds(value, 3)",
    "both in one tuple": "assert (moved(1), other(2)) == (2, 3)",
    "sum": "assert moved(1) + other(2) == 3",
    "one of two": "assert moved(1) == 2 or other(2) == 3",
    "statements in a function": "def test():\n    p = moved(1)\n    assert p == Point(2)\ntest()",
    "helper of the setup": "assert same(moved(1), 2)\nassert same(other(1), 3)",
}
APART = {
    "conditions": "assert moved(1) == 2 and other(2) == 3",
    "statements": "assert moved(1) == 2\nassert other(2) == 3",
    "variables": "xs = [1]\nys = [2]\nassert moved(xs) == 2 and xs == [1]\nassert other(ys) == 3",
    "function": "def test():\n    xs = [1]\n    assert moved(xs) == 2\n    assert len(other(2)) == 3\ntest()",
    "library": "import math\nassert moved(math.pi) == 2\nassert other(math.pi) == 3",
    "library of a library": (
        "import numpy as np\nassert np.linalg.norm(moved(1)) == 2.0\nassert np.linalg.norm(other(2)) == 3.0"
    ),
    "same function": "assert [moved(1)] == [moved(1)]",
    "one function passed on": "check_one(moved)",
}


@pytest.mark.parametrize("kind", COMPARING)
def test_comparison_of_two_functions_runs_with_the_program(kind):
    assert plan_check(COMPARING[kind], HELPERS, "") is None


@pytest.mark.parametrize("kind", APART)
def test_statements_that_share_no_name_are_examined(kind):
    assert plan_check(APART[kind], HELPERS, "") is not None
