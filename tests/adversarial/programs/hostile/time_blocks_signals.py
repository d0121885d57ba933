# tests: {"type": "call", "fn_name": "solve", "inputs": [[7]], "outputs": [746582675]}
# expect: timeout
# timeout_s: 1
# note: blocks whatever can be blocked

import signal

signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())


def solve(n):
    while True:
        pass
