# tests: {"type": "call", "fn_name": "solve", "inputs": [[7], [8]], "outputs": [962879069, 933721864]}
# expect: runtime_error
# note: success instead of an answer

import os


def solve(n):
    os._exit(0)
