"""Test operations on objects of the program, and arguments, that messages do not carry."""

from __future__ import annotations

import sys

import pytest

from stepcoder_trl import CodeExecutor, Execution
from tests.unit.executor.samples import outcomes


pytestmark = [
    pytest.mark.sandbox,
    pytest.mark.skipif(sys.platform != "linux", reason="the examiner belongs to Linux's fork server"),
]


def examined(executor: CodeExecutor, program: str, *lines: str) -> Execution:
    """Run each line as a check of its own."""
    checks = [f"def check_{number}(f):\n    {line}\n" for number, line in enumerate(lines)]
    imports = "import itertools\nimport math\nimport numpy\n"
    asserts = [f"check_{number}(f)" for number in range(len(lines))]
    return executor.run(program, {"type": "assert", "setup": imports + "".join(checks), "asserts": asserts})


ANY_ERROR = "try:\n        {}\n    except BaseException:\n        pass\n    else:\n        raise AssertionError"
OBJECT = """
class Table:
    def __init__(self, n): self.n = n
    def __setitem__(self, key, value): pass
    def __getitem__(self, key): return 7
    def __delitem__(self, key): pass
    def __add__(self, other): return Table(1)
    def __rsub__(self, other): return Table(1)
    def __ior__(self, other): return self
    def __lt__(self, other): return True
    def __contains__(self, item): return True
    __iter__ = None
    def __len__(self): return 1
    def __array__(self, dtype=None, copy=None):
        import numpy
        return numpy.array([self.n])
    def __call__(self, x): return x
class Row(tuple):
    def __setitem__(self, key, value): pass
    def __enter__(self): return self
    def __exit__(self, *details): return True
def f(n):
    if type(n) is int:
        return [Table, Row][n]([1])
"""


@pytest.mark.parametrize(
    "line",
    [
        *("f(object())", "f(...)", "f(math)", "f([0] * 3_000_000)", "f({1: {2: len}})"),
        *("x = f(0); x[0] = 5", "x = f(1); x[0] = 5", "x = f(0); del x[0]", "f(0) + 1", "5 - f(0)", "f(0) < f(0)"),
        *("x = f(0); x |= 2", "f(0)[1:2]", "7 in f(0)", "[f(0)][0](3)", "numpy.array([f(0)])[0] + 1"),
    ],
)
def test_error_of_the_examiner_is_none_of_the_program(executor, line):
    execution = examined(executor, OBJECT, ANY_ERROR.format(line), "assert f('x') is None")

    assert outcomes(execution) == ["runtime_error", "passed"]
    assert "cannot be passed on to the program; run the canonical solution" in execution.tests[0].message


def test_object_without_an_operation_raises_as_in_python(executor):
    program = "class Table:\n    pass\ndef f(n):\n    return Table()\n"
    lines = ["x = f(0); x[0] = 5", "f(0) + 1", "x = f(0); del x[0]", "f(0) < f(0)", "7 in f(0)", "abs(f(0))"]
    expects_type_error = ANY_ERROR.replace("BaseException", "TypeError")

    execution = examined(executor, program, *map(expects_type_error.format, lines))

    assert outcomes(execution) == ["passed"] * len(lines)


def test_operations_on_the_object_alone_are_asked_of_the_program(executor):
    body = ["abs", "neg", "index", "round", "floor", "complex"]
    methods = "".join(f"    def __{name}__(self, *n): return {'3j' if name == 'complex' else 3}\n" for name in body)
    program = f"class Number:\n{methods}    def __format__(self, how): return how\ndef f(n):\n    return Number()\n"

    execution = examined(
        executor,
        program,
        "assert abs(f(0)) == -f(0) == math.floor(f(0)) == 3",
        "assert round(f(0)) == round(f(0), 1) == [1, 2, 4, 3][f(0)]",
        "assert f'{f(0):>4}' == '>4' and complex(f(0)) == 3j",
    )

    assert (outcomes(execution), execution.trusted) == (["passed"] * 3, True)


def test_context_of_the_program_runs_with_it(executor):
    program = "import contextlib\n@contextlib.contextmanager\ndef f(x):\n    yield x\n"
    tests = {"type": "unittest", "code": "def test_a():\n    with f(1) as r:\n        assert r == 1\n"}

    execution = executor.run(program, tests)

    assert (outcomes(execution), execution.trusted) == (["passed"], False)


ENDLESS = "def {}(n):\n    while True:\n        yield n\n        n += 1\n"
ENDLESS_OBJECT = """
class f:
    def __init__(self, n): self.n = n
    def __iter__(self): return g(self.n)
"""


@pytest.mark.parametrize(
    "program", [ENDLESS.format("f"), ENDLESS.format("g") + ENDLESS_OBJECT], ids=["generator", "object"]
)
def test_endless_elements_are_taken_as_needed(executor, program):
    execution = examined(
        executor,
        program,
        "assert list(itertools.islice(f(1), 300)) == list(range(1, 301))",
        "assert [b for a, b in zip('ab', f(1))] == [1, 2]",
        "for x in f(1):\n        if x > 20:\n            break\n    assert x == 21",
        "r, *_ = zip(f(1), f(5), range(2))\n    assert r == (1, 5, 0)",
        "assert 9 in f(1)",
    )

    assert (outcomes(execution), execution.trusted) == (["passed"] * 5, True)


def test_generator_goes_on_where_it_stopped(executor):
    program = "def f(n):\n    yield from range(n)\n    raise KeyError(n)\n"

    execution = examined(
        executor,
        program,
        "r = f(9)\n    assert list(itertools.islice(r, 4)) == [0, 1, 2, 3] and list(itertools.islice(r, 5))[-1] == 8",
        "r = f(4)\n    assert list(itertools.islice(zip(r, r), 2)) == [(0, 1), (2, 3)]",
        "r, found = f(200), []\n    try:\n        for x in r: found.append(x)\n    except KeyError:\n        pass\n"
        "    assert found == list(range(200)) and list(r) == []",
        "list(f(3))",
    )

    assert outcomes(execution) == ["passed", "passed", "passed", "runtime_error"]
    assert execution.tests[3].message == "KeyError: 3"
