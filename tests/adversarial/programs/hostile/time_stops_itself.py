# tests: {"type": "call", "fn_name": "solve", "inputs": [[7]], "outputs": [648758530]}
# expect: timeout
# timeout_s: 0.5
# note: a stopped process uses no processor

import os
import signal


def solve(n):
    os.kill(os.getpid(), signal.SIGSTOP)
    return 0
