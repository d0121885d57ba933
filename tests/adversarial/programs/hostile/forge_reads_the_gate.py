# tests: {"type": "call", "fn_name": "solve", "inputs": [[7], [8]], "outputs": [367937348, 272011050]}
# expect: failed|runtime_error|timeout
# timeout_s: 1
# note: drains whatever the harness reads from

import os

for descriptor in range(3, 256):
    try:
        os.set_blocking(descriptor, False)
        os.read(descriptor, 2**20)
    except OSError:
        pass


def solve(n):
    return 0
