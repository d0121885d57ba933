# tests: {"type": "call", "fn_name": "solve", "inputs": [[7]], "outputs": [678708218]}
# expect: timeout
# timeout_s: 0.5
# note: takes signals away before a handler sees them

import signal

signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())


def solve(n):
    while True:
        signal.sigwaitinfo(signal.valid_signals())
