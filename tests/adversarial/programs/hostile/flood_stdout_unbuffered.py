# tests: {"type": "stdio", "inputs": ["7\n"], "outputs": ["g4beuw3g74pf\n"]}
# expect: runtime_error|timeout
# timeout_s: 2
# note: endless output past Python's streams

import os

while True:
    try:
        os.write(1, b"y" * 65536)
    except OSError:
        pass
