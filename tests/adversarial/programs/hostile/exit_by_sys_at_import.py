# tests: {"type": "call", "fn_name": "solve", "inputs": [[7], [8]], "outputs": [442633060, 113973524]}
# expect: runtime_error
# note: success before any test

import sys


def solve(n):
    return 0


sys.exit(0)
