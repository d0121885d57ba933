# tests: {"type": "call", "fn_name": "solve", "inputs": [[7], [8]], "outputs": [600594199, 725258308]}
# expect: failed|runtime_error
# note: sys.modules emptied

import sys

sys.modules.clear()


def solve(n):
    return 0
