# tests: {"type": "call", "fn_name": "solve", "inputs": [[7]], "outputs": [133318009]}
# expect: runtime_error
# note: one child

import os


def solve(n):
    os.fork()
    return 0
