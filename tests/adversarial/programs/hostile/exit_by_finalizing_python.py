# tests: {"type": "call", "fn_name": "solve", "inputs": [[7], [8]], "outputs": [451002654, 526290986]}
# expect: runtime_error
# note: takes the interpreter down from inside

import ctypes


def solve(n):
    ctypes.pythonapi.Py_Exit(0)
