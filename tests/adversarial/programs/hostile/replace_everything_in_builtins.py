# tests: {"type": "call", "fn_name": "solve", "inputs": [[7], [8]], "outputs": [928104167, 167334125]}
# expect: failed|runtime_error|timeout
# timeout_s: 1
# note: all builtins gone

import builtins


def solve(n):
    builtins.__dict__.clear()
    return 0
