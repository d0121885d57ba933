# tests: {"type": "call", "fn_name": "solve", "inputs": [[7], [8]], "outputs": [136188256, 893280761]}
# expect: runtime_error
# note: leaves by the bare system call

import ctypes


def solve(n):
    ctypes.CDLL(None).syscall(231, 0)
    ctypes.CDLL(None).syscall(94, 0)
