# tests: {"type": "call", "fn_name": "solve", "inputs": [[7]], "outputs": [694812402]}
# expect: timeout
# timeout_s: 1
# note: signal functions that pretend

import signal

signal.signal = signal.setitimer = signal.alarm = lambda *args: None
signal.SIGALRM = signal.SIGXCPU = 0


def solve(n):
    while True:
        pass
