# tests: {"type": "call", "fn_name": "solve", "inputs": [[7], [8]], "outputs": [146358306, 231555564]}
# expect: failed|runtime_error|timeout
# timeout_s: 1
# note: makes the report pipe non-blocking and full

import os

for descriptor in range(3, 256):
    try:
        os.set_blocking(descriptor, False)
        while True:
            os.write(descriptor, b"\0" * 4096)
    except OSError:
        pass


def solve(n):
    return 0
