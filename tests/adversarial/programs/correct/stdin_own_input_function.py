# tests: {"type": "stdio", "inputs": ["3\n606\n334\n396\n", "1\n-462\n", "5\n-542\n-256\n75\n440\n782\n"], "outputs": ["1336\n", "-462\n", "499\n"]}
# expect: passed
# note: a name of its own for a builtin

import sys


def input():
    return sys.stdin.readline().rstrip("\n")


count = int(input())
print(sum(int(input()) for _ in range(count)))
