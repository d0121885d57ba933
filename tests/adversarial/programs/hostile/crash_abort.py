# tests: {"type": "call", "fn_name": "solve", "inputs": [[7]], "outputs": [676294806]}
# expect: runtime_error
# note: SIGABRT

import os


def solve(n):
    os.abort()
