# tests: {"type": "call", "fn_name": "solve", "inputs": [[7], [8]], "outputs": [572140788, 319067659]}
# expect: runtime_error
# note: success instead of an answer

import sys


def solve(n):
    sys.exit(0)
