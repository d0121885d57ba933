# tests: {"type": "stdio", "inputs": ["3\n-608\n117\n-180\n", "1\n148\n", "5\n-927\n-185\n397\n-462\n-976\n"], "outputs": ["-671\n", "148\n", "-2153\n"]}
# expect: passed
# note: deep, in the main thread

import sys

sys.setrecursionlimit(300_000)


def count(n):
    return 0 if n == 0 else 1 + count(n - 1)


assert count(15_000) == 15_000
print(sum(map(int, sys.stdin.read().split()[1:])))
