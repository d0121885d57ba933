"""Test the executed lines of programs that end early."""

from __future__ import annotations

import sys

import pytest

from tests.unit.executor.samples import DOUBLE, outcomes


pytestmark = pytest.mark.sandbox


@pytest.mark.parametrize(
    ("program", "lines"),
    [
        ("n = int(input())\nif n > 9:\n    print(1)\nelse:\n    print(2 * n)\n", {1, 2, 4, 5}),
        ("n = int(input())\n1 / 0\nprint(n)\n", {1, 2}),
        ("n = int(input())\nwhile n:\n    pass\nprint(n)\n", {1, 2, 3}),
        ("import os\nn = int(input())\nos._exit(0)\nprint(n)\n", {1, 2, 3}),
        ("import sys\nn = int(input())\nsys.exit()\nprint(n)\n", {1, 2, 3}),
        ("import ctypes\nn = int(input())\nctypes.string_at(0)\nprint(n)\n", {1, 2, 3}),
        ("import os, signal\nn = int(input())\nos.kill(os.getpid(), signal.SIGKILL)\nprint(n)\n", {1, 2, 3}),
        (
            "import threading\ndef f():\n    print(2 * n)\nn = int(input())\nthreading.Thread(target=f).start()\n",
            {1, 2, 3, 4, 5},
        ),
    ],
)
def test_lines_before_the_end_are_known(fast_executor, program, lines):
    execution = fast_executor.run(program, DOUBLE)

    assert execution.executed_lines == lines
    assert execution.kept_lines == lines


@pytest.mark.parametrize(
    "program", ["def f(:\n    pass\n", "import sys\nsys.settrace(None)\nprint(2 * int(input()))\n"]
)
def test_all_lines_are_kept_without_a_trace(fast_executor, program):
    if "settrace" in program and hasattr(__import__("sys"), "monitoring"):
        pytest.skip("sys.monitoring does not go through sys.settrace")
    execution = fast_executor.run(program, DOUBLE)

    assert execution.executed_lines == frozenset()
    assert execution.kept_lines == set(range(1, program.count("\n") + 1))
    assert execution.trace_lost == ("settrace" in program)


def test_lines_of_earlier_tests_are_kept_after_a_crash(fast_executor):
    tests = {"type": "stdio", "inputs": ["0", "1", "2"], "outputs": ["a", "", "b"]}
    program = (
        "n = int(input())\nif n == 0:\n    print('a')\nelif n == 1:\n    import ctypes\n    ctypes.string_at(0)\n"
        "else:\n    print('b')\n"
    )

    execution = fast_executor.run(program, tests)

    assert outcomes(execution) == ["passed", "runtime_error", "passed"]
    assert execution.executed_lines == set(range(1, 9))


def test_tracer_that_was_switched_off_counts_as_lost(fast_executor):
    if sys.version_info >= (3, 12):
        pytest.skip("sys.monitoring does not go through sys.settrace")
    program = "import sys\nt = sys.gettrace()\nsys.settrace(None)\nx = 1\nsys.settrace(t)\nif x == 2:\n    print(1)\n"

    assert fast_executor.run(program, DOUBLE).kept_lines == set(range(1, 8))


def test_file_of_the_lines_may_be_cut(fast_executor):
    program = (
        "import ctypes, os\nfor number in range(3, 256):\n    try:\n        os.ftruncate(number, 0)\n"
        "    except OSError:\n        pass\nctypes.string_at(0)\n"
    )

    execution = fast_executor.run(program, DOUBLE)

    assert execution.tests[0].message == "killed by SIGSEGV"
