"""Programs that call the function of their stdio tests themselves."""

from __future__ import annotations

import pytest

from stepcoder_trl import CodeExecutor, ExecutorConfig


pytestmark = pytest.mark.sandbox

TESTS = {"type": "stdio", "inputs": ["3\n", "4\n"], "outputs": ["6\n", "8\n"], "fn_name": "solve"}
SOLVE = "def solve():\n    print(2 * int(input()))\n"
CALLED = {
    "not at all": "",
    "at the end": "solve()\n",
    "in the main block": 'if __name__ == "__main__":\n    solve()\n',
    "by another function": "def main():\n    solve()\n\nmain()\n",
    "in a thread": "import threading\nthread = threading.Thread(target=solve)\nthread.start()\nthread.join()\n",
    "in a block that does not run": "if len(__name__) > 100:\n    solve()\n",
    "only by itself": "again = solve\n",
    "and ends the program": "import sys\nsolve()\nsys.exit()\n",
    "and others before": "def add(x):\n    return x + 1 if x > 50 else add(x + 1)\nadd(0)\nsolve()\n",
}
OTHERS = {
    "method": "class Solution:\n    def solve(self):\n        print(2 * int(input()))\nSolution().solve()\n",
    "lambda": "solve = lambda: print(2 * int(input()))\nsolve()\n",
    "alias": "def main():\n    print(2 * int(input()))\nsolve = main\nmain()\n",
    "method of the same name before": (
        "class Node:\n    def solve(self):\n        return 2\ntwo = Node().solve()\n"
        "def solve():\n    print(two * int(input()))\n"
    ),
    "function of the same name inside another": (
        "def two():\n    def solve():\n        return 2\n    return solve()\n"
        "twice = two()\ndef solve():\n    print(twice * int(input()))\n"
    ),
    "decorated": (
        "import functools\n@functools.lru_cache(None)\ndef solve():\n    print(2 * int(input()))\nsolve()\n"
    ),
    "decorator without a name": (
        "def shown(f):\n    def inner():\n        print(f())\n    return inner\n"
        "@shown\ndef solve():\n    return 2 * int(input())\nsolve()\n"
    ),
    "partial": (
        "import functools\ndef solve(n):\n    print(n * int(input()))\nsolve = functools.partial(solve, 2)\nsolve()\n"
    ),
    "loop that reads": "import sys\ndef solve():\n    for line in sys.stdin:\n        print(2 * int(line))\nsolve()\n",
}


@pytest.fixture(scope="module")
def untraced():
    with CodeExecutor(ExecutorConfig(num_workers=1, timeout_s=5.0, trace=False)) as executor:
        yield executor


@pytest.mark.parametrize(
    "program", [SOLVE + end for end in CALLED.values()] + list(OTHERS.values()), ids=[*CALLED, *OTHERS]
)
def test_function_is_called_once(executor, untraced, program):
    traced, plain = executor.run(program, TESTS), untraced.run(program, TESTS)

    assert [test.message for test in (*traced.tests, *plain.tests)] == [""] * 4
    assert not traced.trace_lost
    assert traced.executed_lines >= {1}


def test_lines_of_the_function_are_recorded(executor):
    execution = executor.run(SOLVE + CALLED["in the main block"], TESTS)

    assert execution.executed_lines == frozenset({1, 2, 3, 4})


def test_error_of_the_programs_own_call_counts(executor):
    execution = executor.run("def solve():\n    print(1 // 0)\nsolve()\n", TESTS)

    assert execution.outcome == "runtime_error"
    assert "ZeroDivisionError" in execution.tests[0].message
