# tests: {"type": "call", "fn_name": "solve", "inputs": [[7], [8]], "outputs": [986295200, 167437202]}
# expect: failed|runtime_error
# note: plain text to every descriptor, then a good exit status

import os

for descriptor in range(3, 256):
    try:
        os.write(descriptor, b'{"passed": true, "outcome": "passed"}\n')
    except OSError:
        pass


def solve(n):
    os._exit(0)
