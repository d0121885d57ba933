# tests: {"type": "call", "fn_name": "solve", "inputs": [[7], [8]], "outputs": [985548928, 159023669]}
# expect: failed|runtime_error
# note: a trace function that raises in the harness's code

import sys


def trace(frame, event, arg):
    raise KeyboardInterrupt


def solve(n):
    sys.settrace(trace)
    return 0
