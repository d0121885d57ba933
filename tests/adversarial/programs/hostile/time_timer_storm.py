# tests: {"type": "call", "fn_name": "solve", "inputs": [[7]], "outputs": [126668694]}
# expect: timeout
# timeout_s: 1
# note: a million signals a second

import signal

signal.signal(signal.SIGALRM, lambda *_: None)
signal.setitimer(signal.ITIMER_REAL, 1e-6, 1e-6)


def solve(n):
    while True:
        pass
