"""Test tests that need objects of the program."""

from __future__ import annotations

import pytest

from stepcoder_trl import CodeExecutor, ExecutorConfig, Outcome


@pytest.mark.sandbox
@pytest.mark.parametrize(
    ("setup", "statement"),
    [
        ("", "assert list(map(add(3), [1, 2])) == [4, 5]"),
        ("", "assert list(filter(add(-1), [1, 2])) == [2]"),
        ("", "assert sum(map(add(3), [1, 2])) == 9"),
        ("", "assert max([1, 2], key=add(3)) == 2"),
        ("", "assert hasattr(make(1), 'x') == True"),
        ("", "assert getattr(make(1), 'x') == 1"),
        ("", "assert max([make(1), make(2)], key=lambda made: made.x).x == 2"),
        ("", "assert max(make(1), make(2)).x == 2"),
        ("", "assert (make(1) + make(2)).x == 3"),
        ("", "assert sum([make(1), make(2)], make(3)).x == 6"),
        ("", "assert (make(2) if make(1) < make(2) else make(1)).x == 2"),
        ("import functools", "assert functools.reduce(lambda a, b: a + b, [make(1), make(2)]).x == 3"),
        ("import re", "assert re.match(pat('a'), 'abc')"),
        ("import re", "assert re.match(pat('a'), 'abc') is not None"),
        ("import re", "assert re.sub(pat('a'), 'x', 'abc') == 'xbc'"),
        ("", "assert same(int) == int"),
        ("", "assert same(type(None)) == type(None) and same(type) == type"),
        ("", "assert [same(bool)] != [int, str]"),
        ("", "assert same(NotImplemented) == NotImplemented"),
        ("", "assert type(same(1)) == int and same(...) == ..."),
        ("", "assert part(1, 2) == slice(1, 2)"),
        ("import numpy as np", "assert type(zeros(2)) == np.ndarray"),
    ],
)
def test_test_that_needs_functions_or_objects_of_the_program_passes_untrusted(setup, statement):
    program = """
import re
def add(n): return lambda x: x + n
def pat(text): return re.compile(text)
def same(x): return x
def part(a, b): return slice(a, b)
def zeros(n):
    import numpy
    return numpy.zeros(n)
class Made:
    def __lt__(self, other): return self.x < other.x
    def __add__(self, other): return make(self.x + other.x)
def make(x):
    made = Made()
    made.x = x
    return made
"""
    with CodeExecutor(ExecutorConfig(num_workers=1)) as executor:
        execution = executor.run(program, {"type": "assert", "setup": setup, "asserts": [statement]})

    assert execution.outcome is Outcome.PASSED, execution
    assert not execution.tests[0].trusted


@pytest.mark.parametrize(
    ("setup", "statement", "trusted"),
    [
        (
            "def check(candidate):\n    Input = [1, 2]\n    Output = [1, 2]\n    assert candidate(Input) == Output\n",
            "check(same)",
            True,
        ),
        ("", "Expected = [1, 2]\nassert same([1, 2]) == Expected", True),
        ("", "for Case, Want in [(1, 1)]:\n    assert same(Case) == Want", True),
        ("", "Kind = int\nassert same(int) == Kind", False),
        ("", "Kinds = [int]\nassert [same(int)] == Kinds", False),
        ("", "from fractions import Fraction as Kind\nassert same(Kind) == Kind", False),
    ],
)
def test_names_of_literals_are_no_classes(setup, statement, trusted):
    with CodeExecutor(ExecutorConfig(num_workers=1)) as executor:
        execution = executor.run("def same(x): return x", {"type": "assert", "setup": setup, "asserts": [statement]})

    assert (execution.outcome, execution.trusted) == (Outcome.PASSED, trusted), execution
