# tests: {"type": "call", "fn_name": "solve", "inputs": [[7], [8]], "outputs": [14, 16]}
# expect: runtime_error
# note: right the first time

import ctypes

calls = []


def solve(n):
    calls.append(n)
    if n == 8:
        ctypes.string_at(0)
    return n * 2
