# tests: {"type": "call", "fn_name": "solve", "inputs": [[7], [8]], "outputs": [659307363, 801110363]}
# expect: failed|runtime_error
# note: overwrites the value of small integers in memory

import ctypes


def solve(n):
    for number in range(2, 200):
        ctypes.c_uint32.from_address(id(number) + 24).value = 1
    return 7
