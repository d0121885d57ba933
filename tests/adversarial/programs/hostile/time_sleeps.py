# tests: {"type": "call", "fn_name": "solve", "inputs": [[7]], "outputs": [981162198]}
# expect: timeout
# timeout_s: 0.5
# note: uses no processor at all

import time


def solve(n):
    time.sleep(1000)
