# tests: {"type": "call", "fn_name": "solve", "inputs": [[7]], "outputs": [699654044]}
# expect: runtime_error|failed|timeout
# timeout_s: 1
# note: overwrites an object that everybody uses

import ctypes


def solve(n):
    ctypes.memset(id(None), 0xFF, 16)
    ctypes.memset(id(type), 0, 64)
    return None
