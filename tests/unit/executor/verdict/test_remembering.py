"""Test which programs and tests may keep something from one test for the next."""

from __future__ import annotations

import pytest

from stepcoder_trl.executor.verdict.remembering import Sharing, remembers, sharing_of
from stepcoder_trl.executor.verdict.schema import Tests


REMEMBERING = [
    "from functools import lru_cache\n@lru_cache(None)\ndef f(k):\n    return k\n",
    "memo = {}\ndef f(k):\n    return k\n",
    "seen = []\ndef f(k):\n    seen.append(k)\n",
    "table = {}\ndef f(k):\n    return table.setdefault(k, 1)\n",
    "row = [[0]]\ndef f(k):\n    row[0][0] = k\n",
    "row = []\ndef f():\n    other = row\n    other.append(1)\n",
    "heap = []\nfrom heapq import heappush\ndef f(x):\n    heappush(heap, x)\n",
    "n = 0\ndef f():\n    global n\n    n += 1\n",
    "def f(k, found=[]):\n    return found\n",
    "f = lambda x, found={}: found\n",
    "def f(x):\n    f.calls = x\n",
    "def wrap(f):\n    return f\n@wrap\ndef f(x):\n    return x\n",
    "def numbers():\n    yield 1\nnext_ones = numbers()\ndef f():\n    return 1\n",
    "ones = iter([1])\ndef f():\n    return next(ones)\n",
    "class A:\n    def f(self):\n        self.x = 1\na = A()\n",
    "class A:\n    kept = {}\n    def f(self, k):\n        self.kept[k] = 1\n",
    "class A:\n    kept = {}\n    def f(self, k):\n        kept = self.kept\n        kept[k] = 1\n",
    "class A:\n    @classmethod\n    def f(cls):\n        cls.x = 1\n",
]
FORGETTING = [
    "def f(x):\n    seen = []\n    seen.append(x)\n    return seen\n",
    "def f(x, k=3, inf=float('inf')):\n    return x\n",
    "class Solution:\n    def f(self, x: int) -> int:\n        self.best = x\n        return x\n",
    "class Solution:\n    start = 3\n    def f(self, k):\n        self.start = 1\n",
    "STEPS = [(0, 1), (1, 0)]\ndef f(x):\n    return [x + a for a, b in STEPS] + [STEPS[0]]\n",
    "table = {}\ndef f(k):\n    return table.get(k)\n",
    "PRIMES = [2, 3]\ndef f(x):\n    return x in PRIMES and len(PRIMES) > sum(PRIMES)\n",
    "import math\nINF = math.inf\nMOD = 10**9 + 7\ndef f(x):\n    return min(INF, x % MOD)\n",
    "def f(x):\n    a = []\n    def g():\n        nonlocal a\n        a.append(1)\n    g()\n    return a\n",
]


@pytest.mark.parametrize("program", REMEMBERING)
def test_program_that_may_remember_is_found(program: str) -> None:
    assert remembers(program)


@pytest.mark.parametrize("program", FORGETTING)
def test_program_without_memory_is_not_suspected(program: str) -> None:
    assert not remembers(program)


@pytest.mark.parametrize(
    ("setup", "asserts", "sharing"),
    [
        ("import math", ["assert f(1)", "assert f(2)"], Sharing.MODULE),
        ("", ["assert f(1)"], Sharing.NOTHING),
        ("", ["x = f(1)\nassert x", "assert x"], Sharing.OBJECTS),
        ("s = Stack()", ["s.push(1)", "assert s.pop() == 1"], Sharing.OBJECTS),
    ],
)
def test_asserts_share_the_objects_that_they_make(setup: str, asserts: list[str], sharing: Sharing) -> None:
    tests = Tests.parse({"type": "assert", "setup": setup, "asserts": asserts})

    assert sharing_of(tests, len(asserts), fresh_process_per_test=False) is sharing
    assert sharing_of(tests, len(asserts), fresh_process_per_test=True) is Sharing.NOTHING


def test_stdio_tests_share_nothing() -> None:
    tests = Tests.parse({"type": "stdio", "inputs": ["", ""], "outputs": ["", ""]})

    assert sharing_of(tests, 2, fresh_process_per_test=False) is Sharing.NOTHING
