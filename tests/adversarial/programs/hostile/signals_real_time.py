# tests: {"type": "call", "fn_name": "solve", "inputs": [[7]], "outputs": [234501376]}
# expect: runtime_error
# note: dies of a signal that has no name

import os
import signal


def solve(n):
    os.kill(os.getpid(), signal.SIGRTMIN + 7)
