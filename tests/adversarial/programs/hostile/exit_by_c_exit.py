# tests: {"type": "call", "fn_name": "solve", "inputs": [[7], [8]], "outputs": [578821965, 466434425]}
# expect: runtime_error
# note: runs the handlers of the C library and leaves

import ctypes


def solve(n):
    ctypes.CDLL(None).exit(0)
