# tests: {"type": "call", "fn_name": "solve", "inputs": [[7], [8]], "outputs": [717995358, 173017660]}
# expect: runtime_error|failed
# note: closes whatever is open

import os

os.closerange(0, 65536)


def solve(n):
    return 0
