"""Test the outcomes of programs."""

from __future__ import annotations

import pytest

from stepcoder_trl import Outcome
from tests.unit.executor.samples import DOUBLE, SUCCESSOR, outcomes


pytestmark = pytest.mark.sandbox


@pytest.mark.parametrize(
    "program",
    [
        "print(2 * int(input()))",
        "import sys\nprint(2 * int(sys.stdin.buffer.read()))\nsys.exit(1)",
        "import os\nprint(2 * int(open(0).read()), flush=True)\nos._exit(3)",
        "import threading\nn = int(input())\nthreading.Thread(target=lambda: print(2 * n)).start()",
        "import atexit\nn = int(input())\natexit.register(lambda: print(2 * n))",
        "n = int(input())\nout = open(1, 'w')\nout.write(str(2 * n))",
        "import builtins, sys\nbuiltins.input = sys.stdin.readline\nprint(2 * int(input()))",
        "import sys\nsys.setrecursionlimit(10**6)\ndef g(n): return n and 1 + g(n - 1)\ng(20000)\n"
        "print(2 * int(input()))",
        "from concurrent.futures import ThreadPoolExecutor\np = ThreadPoolExecutor()\n"
        "print(2 * p.submit(int, input()).result())",
        "def main():\n    print(2 * int(input()))\nif __name__ == '__main__':\n    main()",
        "import resource\nresource.setrlimit(resource.RLIMIT_STACK, resource.getrlimit(resource.RLIMIT_STACK))\n"
        "print(2 * int(input()))",
        "import tempfile\nwith tempfile.TemporaryFile('w+') as f:\n    f.write(input())\n"
        "    f.seek(0)\n    print(2 * int(f.read()))",
        "import pickle\nclass A: pass\npickle.loads(pickle.dumps(A()))\nprint(2 * int(input()))",
    ],
)
def test_correct_program_passes(fast_executor, program):
    assert fast_executor.run(program, DOUBLE).outcome is Outcome.PASSED


@pytest.mark.parametrize(
    ("program", "expected"),
    [
        ("print(3 * int(input()))", "failed"),
        ("", "failed"),
        ("1 / 0", "runtime_error"),
        ("raise KeyboardInterrupt", "runtime_error"),
        ("class E(Exception):\n    def __str__(self):\n        while True: pass\nraise E()", "runtime_error"),
        ("import ctypes\nctypes.string_at(0)", "runtime_error"),
        ("eval('1 +')", "runtime_error"),
        ("while True: print('x' * 1000)", "runtime_error"),
        ("while True: pass", "timeout"),
        ("while True:\n    try:\n        while True: pass\n    except BaseException: pass", "timeout"),
        ("import time\ntime.sleep(100)", "timeout"),
        ("x = [0] * 10**9", "memory_exceeded"),
        ("raise MemoryError", "memory_exceeded"),
        ("def f(:", "compile_error"),
        ("  x = 1\n y = 2", "compile_error"),
        ("x = 1\0", "compile_error"),
        ("x = '\ud800'", "compile_error"),
        ("(" * 5000 + ")" * 5000, "compile_error"),
    ],
)
def test_wrong_program_has_expected_outcome(fast_executor, program, expected):
    assert outcomes(fast_executor.run(program, DOUBLE)) == [expected, expected]


@pytest.mark.parametrize(
    ("program", "expected"),
    [
        ("def f(x): return x + 1", ["passed", "passed"]),
        ("class Solution:\n    def f(self, x): return x + 1", ["passed", "passed"]),
        ("def f(x): return x + 1 if x > 1 else None", ["failed", "passed"]),
        ("def f(x):\n    while x == 1: pass\n    return x + 1", ["timeout", "passed"]),
        ("import os\ndef f(x): return os._exit(0) if x == 1 else x + 1", ["runtime_error", "passed"]),
        ("import sys\ndef f(x): sys.exit(0)", ["runtime_error", "runtime_error"]),
        ("import sys\nsys.exit(0)", ["runtime_error", "runtime_error"]),
        ("x = 1", ["runtime_error", "runtime_error"]),
        ("class E:\n    def __eq__(self, o): return True\ndef f(x): return E()", ["failed", "failed"]),
        ("class I(int):\n    def __eq__(self, o): return True\ndef f(x): return I()", ["failed", "failed"]),
        ("def f(x): return (i for i in [x])", ["failed", "failed"]),
    ],
)
def test_calls_share_a_process_until_it_ends(fast_executor, program, expected):
    assert outcomes(fast_executor.run(program, SUCCESSOR)) == expected


def test_arguments_are_fresh_copies(fast_executor):
    tests = {"type": "call", "fn_name": "f", "inputs": [[[1]], [[1]]], "outputs": [[1, 2], [1, 2]]}

    assert fast_executor.run("def f(x):\n    x.append(2)\n    return x", tests).outcome is Outcome.PASSED


def test_asserts_run_in_order_after_setup(fast_executor):
    tests = {
        "type": "assert",
        "setup": "box = [f(0)]",
        "asserts": ["box.append(5)", "assert box == [1, 5]", "assert f(1) == 3"],
    }

    execution = fast_executor.run("def f(x): return x + 1", tests)

    assert outcomes(execution) == ["passed", "passed", "failed"]
    assert [test.trusted for test in execution.tests] == [False] * 3  # the program has the setup


def test_assertion_error_of_program_is_runtime_error(fast_executor):
    tests = {"type": "assert", "setup": "", "asserts": ["f(1)", "x = f(0)\nassert x == 2"]}

    execution = fast_executor.run("def f(x):\n    assert x == 0\n    return x", tests)

    assert outcomes(execution) == ["runtime_error", "failed"]
