# tests: {"type": "call", "fn_name": "solve", "inputs": [[7]], "outputs": [567812116]}
# expect: runtime_error
# note: SIGSEGV

import ctypes


def solve(n):
    return ctypes.string_at(0)
