# tests: {"type": "call", "fn_name": "solve", "inputs": [[7], [8]], "outputs": [739917067, 241154626]}
# expect: failed|runtime_error
# note: no room left for the harness

import sys


def solve(n):
    try:
        sys.setrecursionlimit(len(__import__("inspect").stack()) + 3)
    except RecursionError:
        pass
    return 0
