# tests: {"type": "call", "fn_name": "solve", "inputs": [[7], [8]], "outputs": [514903937, 669743511]}
# expect: runtime_error
# note: leaves by the C library, past every handler of Python

import ctypes


def solve(n):
    ctypes.CDLL(None)._exit(0)
