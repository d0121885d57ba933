# tests: {"type": "call", "fn_name": "solve", "inputs": [[7]], "outputs": [810165552]}
# expect: runtime_error
# note: SIGKILL

import os
import signal


def solve(n):
    os.kill(os.getpid(), signal.SIGKILL)
