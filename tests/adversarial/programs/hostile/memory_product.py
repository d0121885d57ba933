# tests: {"type": "call", "fn_name": "solve", "inputs": [[7]], "outputs": [239995059]}
# expect: memory_exceeded|timeout
# timeout_s: 5
# note: more combinations than atoms

import itertools


def solve(n):
    return list(itertools.product(range(100), repeat=10))
