# tests: {"type": "call", "fn_name": "solve", "inputs": [[7]], "outputs": [802083967]}
# expect: runtime_error|timeout
# note: pretends that the kernel's limit fired

import os
import signal


def solve(n):
    os.kill(os.getpid(), signal.SIGXCPU)
