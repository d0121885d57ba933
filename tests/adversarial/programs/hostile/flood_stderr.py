# tests: {"type": "call", "fn_name": "solve", "inputs": [[7]], "outputs": [648661008]}
# expect: timeout
# timeout_s: 1
# note: endless output on the other stream; never blocks

import sys


def solve(n):
    while True:
        print("y" * 10_000, file=sys.stderr)
