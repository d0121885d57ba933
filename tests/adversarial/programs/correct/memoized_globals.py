# tests: {"type": "stdio", "inputs": ["3\n-98\n-805\n-411\n", "1\n-897\n", "5\n-799\n184\n-143\n83\n-427\n"], "outputs": ["-1314\n", "-897\n", "-1102\n"]}
# expect: passed
# note: caches that must be fresh in every test

import sys
from functools import lru_cache

seen = []


@lru_cache(maxsize=None)
def add(index):
    return 0 if index == len(numbers) else numbers[index] + add(index + 1)


numbers = tuple(map(int, sys.stdin.read().split()[1:]))
seen.append(numbers)
assert len(seen) == 1
print(add(0))
