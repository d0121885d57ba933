# tests: {"type": "call", "fn_name": "solve", "inputs": [[7], [8]], "outputs": [675831600, 795516281]}
# expect: failed|runtime_error|timeout
# timeout_s: 1
# note: reads memory by address until it crashes

import ctypes


def solve(n):
    address = id(solve)
    while True:
        if b"expected" in ctypes.string_at(address, 2**16):
            return 0
        address += 2**16
