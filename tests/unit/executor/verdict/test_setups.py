"""Test what of a setup a program may have while its tests stay trusted."""

from __future__ import annotations

import pytest

from stepcoder_trl.executor.verdict.judge import Untrusted
from stepcoder_trl.executor.verdict.limits import Limits
from stepcoder_trl.executor.verdict.prepare import prepare_job
from stepcoder_trl.executor.verdict.schema import Tests
from stepcoder_trl.executor.verdict.setups import divided_setup, names_bound_by, names_used_by


@pytest.mark.parametrize(
    ("setup", "expression"),
    [
        ("root = TreeNode(1)\nroot.left = TreeNode(2)", "solve(root).val"),
        ("xs = [1, 2]\nys = (3, xs)", "F(ys).total()"),
        ("table = {1: 2}", "F(table).total()"),
        ("table = {1: 2}", "F(**table).total()"),
        ("import numpy as np\nxs = np.array([1, 2])", "F(xs).total()"),
        ("root = TreeNode(1, [2])\nroot.left = TreeNode(2)", "F(root, 5).total(7)"),
    ],
)
def test_values_that_are_given_whole_are_arguments(setup, expression):
    assert divided_setup(setup).builds_arguments_of([expression], ())


@pytest.mark.parametrize(
    ("setup", "expression"),
    [
        ("table = {1: 2}", "F(list(table)).total()"),
        ("table = {1: 2}", "F(sorted(table)).total()"),
        ("table = {1: 2}", "F(*table).total()"),
        ("table = {1: 2}", "F([*table]).total()"),
        ("table = dict(a=1)\nsame = table", "F(tuple(same)).total()"),
        ("table = {1: 2}\nxs = frozenset(table)", "F(xs).total()"),
        ("xs = list({1: 2})", "F(xs).total()"),
        ("xs = {1: 2}.get(1)", "F(xs).total()"),
        ("xs = {1: 2}.keys()", "F(xs).total()"),
        ("xs = [key for key, value in [(1, 2)]]", "F(xs).total()"),
        ("xs = [7 for _ in {3, 4}]", "F(xs).total()"),
        ("every = {1, 2, 3}\nsome = {3}", "F(every - some).total()"),
        ("xs = 17 % 10", "F(xs).total()"),
        ("xs = [7] * 0", "F(xs).total()"),
        ("xs = {1: 5, 1: 6}", "F(xs).total()"),
        ("xs = 1\nxs = 2", "F(xs).total()"),
        ("xs = [1]\nxs = {1: 2}", "F(list(xs)).total()"),
        ("import random\nxs = random.choice([1, 2])", "F(xs).total()"),
        ("from operator import itemgetter\nxs = itemgetter(0)([1, 2])", "F(xs).total()"),
        ("from collections import deque\ntable = {1: 2}\nxs = deque(table)", "F(xs).total()"),
        ("from collections import deque\nxs = deque([10, 5], maxlen=1)", "F(xs).total()"),
        ("from collections import deque\nxs = deque([10, 5], 1)", "F(xs).total()"),
        ("from collections import deque\nxs = [10, 5]", "F(deque(xs, 1)).total()"),
        ("prices = {'2': 10}\nxs = ','.join(prices)", "F(xs).total()"),
        ("prices = {'2': 10}", "F(','.join(prices)).total()"),
        ("xs = [10] * -1", "F(xs).total()"),
        ("n = -1\nxs = [10] * n", "F(xs, n).total()"),
        ("xs = [10]", "F(xs * 0).total()"),
        ("n = 17", "F(n % 10).total()"),
        ("n = 17", "F(not n).total()"),
        ("xs = {1, 2} - {2}", "F(xs).total()"),
        ("xs = 1**10", "F(xs).total()"),
        ("xs = [] * 10", "F(xs).total()"),
        ("xs = int(7.9)", "F(xs).total()"),
        ("n = 7.9", "F(int(n)).total()"),
        ("n = 7.9\nxs = int(n)", "F(xs).total()"),
        ("xs = bytes({1: 10})", "F(xs).total()"),
        ('import json\nxs = json.loads(\'{"a": 10, "a": 5}\')', "F(xs).total()"),
        ("xs = dict([(1, 10), (1, 5)])", "F(xs).total()"),
        ("from collections import OrderedDict\nxs = OrderedDict([(1, 10), (1, 5)])", "F(xs).total()"),
        ("xs = {1: 10, 1.0: 5}", "F(xs).total()"),
        ("import numpy as np\nxs = np.array({1: 10})", "F(xs).total()"),
        ("import numpy as np\nxs = np.array([7.9], dtype=int)", "F(xs).total()"),
        ("import numpy as np\nxs = {1: 10}", "F(np.asarray(xs)).total()"),
        ("xs = 'a10b'.split('10')", "F(xs).total()"),
        ("xs = 'a\u00e4'.encode('ascii', 'ignore')", "F(xs).total()"),
        ("xs = [10 for _ in range(0)]", "F(xs).total()"),
        ("n = 0\nxs = [10 for _ in range(n)]", "F(xs, n).total()"),
        ("xs = list(range(10, 5))", "F(xs).total()"),
        ("import datetime\nxs = datetime.datetime(2020, 1, 2, 3).date()", "F(xs).total()"),
        # The program's own functions, its values, and what is written to them.
        ("head = build([1, 2, 3])", "F(head).total()"),
        ("F.wanted = 7", "F(1).total()"),
        ("case = Case(1)\ncase.price = 7\ncase.price = 1", "F(case).total()"),
        ("case = Case(1)\ncase.a.b = 7\ncase.a = 1", "F(case).total()"),
        ("case = Case(1)\nsame = case\nsame.price = 7\ncase.price = 1", "F(case, same).total()"),
        ("xs = [7, 2]\nxs[0] = 1", "F(xs).total()"),
        ("xs = [1, 2]\nxs[{7: 0}[7]] = 1", "F(xs).total()"),
        ("x = 7\ny = 1\nx, y = 3, 4", "F(x, y).total()"),
        ("x = 7\ny = 7\nx = y = 4", "F(x, y).total()"),
        ("case = Case(1)", "case.total(7)"),
        ("case = Case(1)", "F(case.given).total()"),
        ("xs = [7]", "F(xs).equals(xs)()"),
        # What is not simple may leave something out.
        ("n = 10**5\nxs = [i * 2 for i in range(100)]", "F(n, xs).total()"),
        ("grid = [[0] * 3 for _ in range(3)]", "F(grid).total()"),
        ("letters = list('abc')", "F(letters).total()"),
        ("xs = [3, 1]", "F(sorted(xs), *xs).total()"),
        ("words = 'a b'.split()", "F(words).total()"),
        ("import datetime\nday = datetime.date(2020, 1, 2)", "F(day).total()"),
        ("n = 5\nname = f'{5}-a'", "F(name, n - 1).total()"),
        ("xs = [float('-inf'), int('7'), str(-5), 2**31 - 1, 10**9 * 7]", "F(xs).total()"),
        ("xs = [[0] * 3 for _ in range(1, 3)] * 2", "F(xs).total()"),
        ("text = ','.join(['a', 'b'])", "F(text).total()"),
        ("xs = sorted([3, 1], key=abs, reverse=True)", "F(sorted(xs, reverse=True)).total()"),
        ("from collections import deque\nxs = deque([1, 2])", "F(deque(xs)).total()"),
        ("import copy\ntable = {'a': 1, 'b': {2: 3, -2: 4}}\nsame = copy.copy(table)", "F(same, -5).total()"),
    ],
)
def test_values_of_which_a_part_is_left_out_may_be_results(setup, expression):
    assert not divided_setup(setup).builds_arguments_of([expression], ())


def test_row_whose_setup_tells_more_than_its_arguments_is_untrusted():
    tests = {"type": "assert", "setup": "prices = {2: 4}", "asserts": ["assert Shop(list(prices)).total() == 4"]}

    job = prepare_job("", Tests.parse(tests), Limits())

    assert isinstance(job.tests.judges[0], Untrusted)


def test_variables_of_comprehensions_are_no_names_of_a_setup():
    source = "xs = [[i + j + k for j in range(i)] for i in given]"

    assert names_bound_by(source) == {"xs"}
    assert names_used_by(source) == {"range", "given", "k"}
    assert names_bound_by("async def f():\n    return [await i for i in given]") == {"f"}
