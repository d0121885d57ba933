# tests: {"type": "call", "fn_name": "solve", "inputs": [[7]], "outputs": [495755518]}
# expect: runtime_error
# note: opens and never closes

import os


def solve(n):
    kept = []
    while True:
        kept.append(os.dup(0))
