# tests: {"type": "call", "fn_name": "solve", "inputs": [[7], [8]], "outputs": [648785397, 265690546]}
# expect: runtime_error
# note: ends in the middle of something else

import os
import signal


def solve(n):
    signal.signal(signal.SIGALRM, lambda *_: os._exit(0))
    signal.setitimer(signal.ITIMER_REAL, 0.01)
    while True:
        pass
