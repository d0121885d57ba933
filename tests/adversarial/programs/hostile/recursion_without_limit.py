# tests: {"type": "call", "fn_name": "solve", "inputs": [[7]], "outputs": [340211423]}
# expect: runtime_error|memory_exceeded|timeout
# timeout_s: 2
# note: overflows the C stack or the memory

import sys

sys.setrecursionlimit(2**31 - 1)


def solve(n):
    return [solve(n + 1) for _ in range(1)]
