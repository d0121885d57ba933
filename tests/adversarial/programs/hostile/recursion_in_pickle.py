# tests: {"type": "call", "fn_name": "solve", "inputs": [[7]], "outputs": [720946375]}
# expect: failed|runtime_error|memory_exceeded|timeout
# timeout_s: 2
# note: the C stack of another module

import pickle
import sys


def solve(n):
    sys.setrecursionlimit(10**7)
    value = []
    for _ in range(500_000):
        value = [value]
    return len(pickle.dumps(value)) * 0
