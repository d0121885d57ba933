# tests: {"type": "call", "fn_name": "solve", "inputs": [[7]], "outputs": [459513071]}
# expect: runtime_error
# note: SIGTERM

import os
import signal


def solve(n):
    os.kill(os.getpid(), signal.SIGTERM)
