# tests: {"type": "call", "fn_name": "solve", "inputs": [[7], [8]], "outputs": [278403459, 845530400]}
# expect: runtime_error|failed
# note: puts standard output in place of every other descriptor

import os

for descriptor in range(3, 256):
    try:
        os.dup2(1, descriptor)
    except OSError:
        pass


def solve(n):
    return 0
