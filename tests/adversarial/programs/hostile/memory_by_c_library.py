# tests: {"type": "call", "fn_name": "solve", "inputs": [[7]], "outputs": [670827801]}
# expect: runtime_error|failed
# note: malloc by hand, and writes to what it did not get

import ctypes


def solve(n):
    libc = ctypes.CDLL(None)
    libc.malloc.restype = ctypes.c_void_p
    libc.memset.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t]
    libc.memset(libc.malloc(ctypes.c_size_t(2**34)), 1, 2**34)
    return 0
