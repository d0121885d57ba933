# tests: {"type": "call", "fn_name": "solve", "inputs": [[7]], "outputs": [463099340]}
# expect: timeout
# timeout_s: 0.5
# note: reads what nobody writes

import os


def solve(n):
    reader, writer = os.pipe()
    return os.read(reader, 1)
