# tests: {"type": "call", "fn_name": "solve", "inputs": [[7], [8]], "outputs": [738027743, 513403804]}
# expect: runtime_error
# timeout_s: 1
# note: a post-mortem hook

import pdb
import sys

sys.breakpointhook = pdb.set_trace


def solve(n):
    breakpoint()
