# tests: {"type": "call", "fn_name": "solve", "inputs": [[7], [8]], "outputs": [649291867, 237406339]}
# expect: failed|runtime_error
# note: its own trace function, which jumps over lines

import sys


def trace(frame, event, arg):
    if event == "line" and frame.f_code.co_name == "solve":
        try:
            frame.f_lineno += 1
        except ValueError:
            pass
    return trace


def solve(n):
    sys._getframe().f_trace = trace
    sys.settrace(trace)
    a = 1
    b = 2
    return a + b
